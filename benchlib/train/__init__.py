"""Training, the same for every method: crops (``data.py``), the loop (``loop.py``), what it goes on
from and what is finished (``checkpoint.py``), what a run leaves behind (``record.py``), and the
losses that are chosen by name (``losses.py``).

Everything random is drawn from names: crop ``n`` of seed ``s`` is the same crop on every machine,
and iteration ``i`` seeds torch's generator by itself. So a run that was killed and resumed is, on
one CPU with one number of threads, the straight run bit for bit.
"""
