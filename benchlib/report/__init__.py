"""The comparison: tables, plots, the page. Layer 4.

Names of images, sets and runs are data: a notebook shows the "$" of a table as it is, not as
mathematics.
"""

import pandas as pd

pd.set_option("display.html.use_mathjax", False)
pd.set_option("styler.html.mathjax", False)
