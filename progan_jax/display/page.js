"use strict";
// Without this script all grids are shown, one after another.
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  const frames = [...document.querySelectorAll("#frames > li")];
  const slider = document.getElementById("moment");
  const caption = document.getElementById("shown");
  const button = document.getElementById("play");
  const captions = frames.map((frame) => frame.querySelector("figcaption").textContent);
  let timer = 0;

  const show = () => {
    const chosen = Number(slider.value);
    frames.forEach((frame, number) => { frame.hidden = number !== chosen; });
    caption.textContent = captions[chosen];
    slider.setAttribute("aria-valuetext", captions[chosen]);
  };
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  };
  const step = () => {
    slider.value = Number(slider.value) + 1;
    show();
    if (slider.value === slider.max) pause();
  };
  const play = () => {
    if (slider.value === slider.max) slider.value = 0;
    show();
    timer = setInterval(step, 300);
    button.textContent = "Pause";
  };

  document.getElementById("frames").classList.add("stacked");
  player.hidden = false;
  slider.addEventListener("input", () => { pause(); show(); });
  button.addEventListener("click", () => (timer ? pause() : play()));
  slider.value = slider.max;
  show();
})();
