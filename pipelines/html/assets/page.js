// What the pages do beyond their HTML: one switch for all samples, opacity, larger pictures, reading a confusion's cell.
"use strict";
(() => {
  const all = (selector) => document.querySelectorAll(selector);
  const KEYS = { 1: "image", 2: "truth", 3: "prediction", 4: "errors" };
  let overlay = "prediction";
  let shown = "prediction";

  function show(view) {
    for (const radio of all(`.views input[value="${view}"]`)) radio.checked = true;
    shown = view;
    if (view !== "image") overlay = view;
  }

  function setOpacity(percent) {
    document.documentElement.style.setProperty("--opacity", percent / 100);
    for (const slider of all(".opacity")) slider.value = percent;
  }

  function enlarge(button) {
    const sample = button.closest(".sample");
    const large = sample.classList.toggle("large");
    button.setAttribute("aria-pressed", large);
    button.textContent = large ? "Smaller" : "Larger";
    sample.scrollIntoView({ block: "nearest" });
  }

  function readCell(event) {
    const cell = event.target.closest(".confusion td[title]");
    if (cell) cell.closest(".panel").querySelector(".readout").textContent = cell.title;
  }

  for (const hidden of all(".tools, .larger")) hidden.hidden = false;
  for (const radio of all(".views.all input")) radio.addEventListener("change", () => show(radio.value));
  for (const slider of all(".opacity")) slider.addEventListener("input", () => setOpacity(slider.value));
  for (const button of all(".larger")) button.addEventListener("click", () => enlarge(button));
  for (const kind of ["pointerover", "click"]) document.addEventListener(kind, readCell);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !document.querySelector(".sample")) return;
    if (event.key in KEYS) show(KEYS[event.key]);
    else if (event.key === "o") show(shown === "image" ? overlay : "image");
  });
})();
