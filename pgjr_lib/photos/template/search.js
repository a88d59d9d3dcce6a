// ---- search, the filter of near-duplicates, and light or dark ----
const MOST = 60;  // matches, or groups of near-duplicates, that are listed; the others are marked on the map and in their clusters
function captioned(list, words) {
  const ul = el("ul", null, { class: "gallery captioned" });
  for (const image of list) {
    const li = el("li", null), link = el("a", `cluster ${image.cluster === NONE ? "none" : image.cluster}`, { href: "#cluster-" + image.cluster });
    link.addEventListener("click", event => { event.preventDefault(); goTo(image); });
    li.append(thumbnail(image), el("span", words(image) + " "), link); ul.append(li);
  }
  return withArrowKeys(ul);
}
function search() {
  const words = $("query").value.trim().toLowerCase(), results = $("results");
  const named = new Set([...clusters.values()].filter(c => c.name.toLowerCase().includes(words)).map(c => c.number));
  hits = words ? new Set(images.filter(i => i.lower.includes(words) || named.has(i.cluster))) : null;
  $("hits").textContent = hits ? `${count(hits.size)} found` : "";
  results.hidden = !hits || !hits.size;
  results.replaceChildren(captioned([...(hits || [])].slice(0, MOST), image => image.file));
  if (hits && hits.size > MOST) results.append(el("p", `The first ${MOST} are listed; all are marked below.`, { class: "soft" }));
  markHits(); draw();
}
$("query").addEventListener("input", search);
const others = [...groups.values()].reduce((sum, list) => sum + list.length - 1, 0);
$("copies").textContent = `Near-duplicates: ${count(others)}`; $("copies").hidden = !others;
function showCopies() {
  const section = $("duplicates");
  section.hidden = !onlyCopies; $("copies").setAttribute("aria-pressed", String(onlyCopies));
  section.replaceChildren();
  if (onlyCopies) {
    section.append(el("p", `${count(groups.size)} picture${groups.size === 1 ? " is" : "s are"} here more than once, the best copy first. duplicates.csv lists them all.`));
    for (const list of [...groups.values()].slice(0, MOST)) section.append(captioned(list, image =>
      `${image.file}: ${image.width} × ${image.height}, ${bytes(image.size)}${image.copy.best ? ", the best" : image.copy.same && list.some(i => i.copy.best && i.key === image.key) ? ", the same file" : ""};`));
    if (groups.size > MOST) section.append(el("p", `The first ${MOST} groups are listed.`, { class: "soft" }));
  }
  markHits(); draw();
}
$("copies").addEventListener("click", () => { onlyCopies = !onlyCopies; showCopies(); });
$("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark"; draw();
});
build();
