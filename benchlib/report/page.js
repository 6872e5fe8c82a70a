(() => {
  "use strict";
  const data = document.getElementById("scenes");
  if (!data) return;
  const scenes = JSON.parse(data.textContent);
  const at = (id) => document.getElementById(id);
  const [stage, slider, overlay, masks] = ["stage", "slider", "overlay", "masks"].map(at);

  const move = (percent) => {
    slider.value = percent;
    stage.style.setProperty("--cut", slider.value);
    slider.setAttribute("aria-valuetext", `${slider.value}% left image, ${100 - slider.value}% right image`);
  };

  const side = (scene, which) => {
    const select = at(which);
    const label = select.selectedOptions[0].textContent;
    const image = at(`image-${which}`);
    image.src = scene.layers[select.value] || scene.layers[":input"];
    image.alt = `${which}: ${label}, ${scene.set}, ${scene.name}`;
    at(`read-${which}`).textContent =
      select.value in scene.layers ? [label, scene.psnr[select.value]].filter(Boolean).join(", ") : `${label}: not run`;
  };

  const show = () => {
    const scene = scenes[Number(at("scene").value)];
    const [width, height] = scene.size;
    Object.assign(at("image-left"), { width, height });
    stage.style.setProperty("--aspect", width / height);
    side(scene, "left");
    side(scene, "right");
    const wanted = Boolean(masks && masks.checked && scene.masks);
    if (scene.masks) overlay.src = scene.masks;
    overlay.hidden = !wanted;
    overlay.alt = wanted ? `${scene.count} masks in colours` : "";
    at("read-masks").textContent = scene.masks ? `${scene.count} masks` : "";
  };

  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    move(Math.round((100 * (event.clientX - box.left)) / box.width));
  };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", (event) => { if (stage.hasPointerCapture(event.pointerId)) drag(event); });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  slider.addEventListener("input", () => move(slider.value));
  for (const control of ["scene", "left", "right", "masks"]) {
    if (at(control)) at(control).addEventListener("change", show);
  }
  // A browser may restore the controls of the last visit: show what they say.
  move(slider.value);
  show();
})();
