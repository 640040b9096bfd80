// The controls without a name, and those that are cut off at the side.
(controls) => {
const shown = [...document.querySelectorAll(controls)].filter((control) => control.checkVisibility() && control.getClientRects().length);
const name = (control) => control.ariaLabel || control.textContent.trim() || control.labels?.[0]?.textContent.trim();
const isOutside = (control) => {
  const edge = control.getBoundingClientRect();
  return edge.left < 0 || edge.right > innerWidth + 0.5 || edge.width < 8 || edge.height < 8;
};
const text = (control) => control.outerHTML.slice(0, 120);
return [shown.filter((control) => !name(control)).map(text), shown.filter(isOutside).map(text)];
}
