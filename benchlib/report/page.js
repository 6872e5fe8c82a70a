(() => {
  "use strict";
  const at = (id) => document.getElementById(id);
  const all = (root, selector) => [...root.querySelectorAll(selector)];

  // ---- tables: a header's button sorts, words and choices filter
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.colSpan > 1 || cell.dataset.v === "") return null; // nothing to sort by: always last
    return "v" in cell.dataset ? Number(cell.dataset.v) : cell.firstChild.textContent.trim(); // not its smaller lines
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));

  for (const button of all(document, "button.sort")) {
    button.addEventListener("click", () => {
      const header = button.closest("th");
      const table = header.closest("table");
      const column = Number(button.dataset.column);
      const now = header.getAttribute("aria-sort");
      const next = now ? (now === "ascending" ? "descending" : "ascending") : button.dataset.first;
      for (const other of all(table, "[aria-sort]")) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const keyed = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
      keyed.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * compare(a, b)));
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  }

  // ---- a table with more than fits says so
  for (const box of all(document, ".scroll")) {
    const hint = document.createElement("p");
    hint.className = "note more";
    box.after(hint);
    new ResizeObserver(() => {
      const right = box.scrollWidth > box.clientWidth + 2, down = box.scrollHeight > box.clientHeight + 2;
      hint.textContent = right || down ? `Scroll the table for more ${right && down ? "columns and lines" : right ? "columns" : "lines"}.` : "";
      hint.hidden = !hint.textContent;
    }).observe(box);
  }

  for (const tools of all(document, ".tools")) {
    const rows = [...at(tools.dataset.table).tBodies[0].rows];
    const filter = () => {
      const words = tools.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
      const choices = all(tools, "select").filter((select) => select.value);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = (select) => row.cells[select.dataset.column].textContent.trim() === select.value;
        row.hidden = !(words.every((word) => text.includes(word)) && choices.every(fits));
        shown += !row.hidden;
      }
      tools.querySelector("output").textContent = `${shown} of ${rows.length} lines`;
    };
    tools.addEventListener("input", filter);
    filter(); // a browser may restore what was typed on the last visit
  }

  // ---- before and after: a divider between two images, and one zoom for all views of a scene
  const data = at("scenes");
  if (!data) return;
  const scenes = JSON.parse(data.textContent);
  const [viewer, stage, slider, overlay, masks, views] = ["viewer", "stage", "slider", "overlay", "masks", "views"].map(at);
  const current = () => scenes[Number(at("scene").value)];
  const names = new Map(all(at("left"), "option").map((option) => [option.value, option.textContent]));

  const MOST = 16;
  const place = { x: 0, y: 0, zoom: 1 }; // left and top edge, as parts of the image
  const look = (x, y, zoom) => {
    place.zoom = Math.min(MOST, Math.max(1, zoom));
    const most = 1 - 1 / place.zoom;
    place.x = Math.min(most, Math.max(0, x));
    place.y = Math.min(most, Math.max(0, y));
    for (const name of ["x", "y", "zoom"]) viewer.style.setProperty(`--${name}`, place[name]);
    viewer.classList.toggle("zoomed", place.zoom > 1);
    viewer.classList.toggle("pixels", place.zoom >= 3);
    at("read-zoom").textContent = place.zoom > 1 ? `zoom ${place.zoom.toFixed(1)}×` : "whole image";
  };
  const zoom = (factor, u = 0.5, v = 0.5) => {
    // the point (u, v) of the view stays where it is
    const next = Math.min(MOST, Math.max(1, place.zoom * factor));
    const shift = 1 / place.zoom - 1 / next;
    look(place.x + u * shift, place.y + v * shift, next);
  };
  const pan = (right, down) => look(place.x + right / place.zoom, place.y + down / place.zoom, place.zoom);
  const STEP = 0.2; // of the view
  const actions = {
    in: () => zoom(1.5),
    out: () => zoom(1 / 1.5),
    whole: () => look(0, 0, 1),
    crop: () => look(...current().crop),
    left: () => pan(-STEP, 0),
    right: () => pan(STEP, 0),
    up: () => pan(0, -STEP),
    down: () => pan(0, STEP),
  };
  const keys = { "+": "in", "=": "in", "-": "out", 0: "whole", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
  for (const button of all(viewer, "button[data-do]")) {
    button.addEventListener("click", actions[button.dataset.do]);
  }
  stage.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  const inside = (event, box) => [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  viewer.addEventListener("wheel", (event) => {
    const view = event.target.closest(".view");
    if (!view || !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 200), ...inside(event, view.getBoundingClientRect()));
  }, { passive: false });

  const move = (percent) => {
    slider.value = percent;
    stage.style.setProperty("--cut", slider.value);
    slider.setAttribute("aria-valuetext", `${slider.value}% left image, ${100 - slider.value}% right image`);
  };
  // A drag moves the divider on the stage, and the image in the views below.
  const drag = (element, act) => {
    element.addEventListener("pointerdown", (event) => { element.setPointerCapture(event.pointerId); act(event, true); });
    element.addEventListener("pointermove", (event) => { if (element.hasPointerCapture(event.pointerId)) act(event, false); });
    element.addEventListener("dragstart", (event) => event.preventDefault());
  };
  drag(stage, (event) => move(Math.round(100 * inside(event, stage.getBoundingClientRect())[0])));

  const picture = (source, alt, kind = "") => Object.assign(new Image(), { src: source, alt, className: kind });
  const view = (scene, key) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const score = document.createElement("span");
    const frame = document.createElement("div");
    frame.className = "view";
    caption.append(names.get(key), score);
    score.textContent = scene.psnr[key] || "";
    frame.append(picture(scene.layers[key], `${names.get(key)}, ${scene.set}, ${scene.name}`));
    if (scene.masks) frame.append(picture(scene.masks, "", "mask"));
    drag(frame, (event, first) => { if (!first) pan(-event.movementX / frame.clientWidth, -event.movementY / frame.clientHeight); });
    figure.append(caption, frame);
    return figure;
  };

  const side = (scene, which) => {
    const key = at(which).value;
    const image = at(`image-${which}`);
    image.src = scene.layers[key] || scene.layers[":input"];
    image.alt = `${which}: ${names.get(key)}, ${scene.set}, ${scene.name}`;
    at(`read-${which}`).textContent =
      key in scene.layers ? [names.get(key), scene.psnr[key]].filter(Boolean).join(", ") : `${names.get(key)}: not run`;
  };
  const cover = () => {
    const scene = current();
    const wanted = Boolean(masks && masks.checked && scene.masks);
    if (scene.masks) overlay.src = scene.masks;
    overlay.alt = wanted ? `${scene.count} masks in colours` : "";
    for (const image of [overlay, ...all(views, ".mask")]) image.hidden = !wanted;
    at("read-masks").textContent = scene.masks ? `${scene.count} masks` : "";
  };
  const show = () => {
    const scene = current();
    viewer.style.setProperty("--aspect", scene.size[0] / scene.size[1]);
    side(scene, "left");
    side(scene, "right");
    views.replaceChildren(...Object.keys(scene.layers).map((key) => view(scene, key)));
    cover();
    look(0, 0, 1);
  };
  slider.addEventListener("input", () => move(slider.value));
  at("scene").addEventListener("change", show);
  for (const which of ["left", "right"]) at(which).addEventListener("change", () => side(current(), which));
  if (masks) masks.addEventListener("change", cover);
  // A browser may restore the controls of the last visit: show what they say.
  move(slider.value);
  show();
})();
