// What the theme leaves out: names of the search and of contents that share a heading,
// and regions that scroll by keys.
function reachScrolled() {
  const scrolled = "pre > code, .md-typeset__scrollwrap";
  for (const region of document.querySelectorAll(scrolled)) {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
  }
}

document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
for (const contents of document.querySelectorAll(".md-nav--secondary .md-nav")) {
  const name = contents.parentElement.querySelector("a").hash.slice(1);
  if (name.includes(".")) contents.setAttribute("aria-label", name);
}
for (const event of ["load", "resize"]) addEventListener(event, reachScrolled);
