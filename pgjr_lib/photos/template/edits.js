// ---- names, merges and moves: they leave the page as a file that the next run takes up ----
const done = [];  // changes in their order: {name: [number, text, before]}, {merge: [from, to, members]}, {move: [image, to, before]}
function change(entry, focusOn) {
  done.push(entry); build(); showChanges(); document.getElementById(focusOn)?.focus();
}
function showChanges() {
  $("changes").hidden = !done.length;
  $("changed").textContent = done.length === 1 ? "1 change is in this page only." : `${done.length} changes are in this page only.`;
}
function rename(cluster, text, focusOn) {
  const name = text.normalize("NFC").replace(/[\u0000-\u001f\u007f\u2028\u2029]/g, " ").trim().slice(0, 80);
  if (!name || name === cluster.name) return;
  const before = cluster.name; cluster.name = name;
  change({ name: [cluster.number, name, before] }, focusOn);
}
function merge(from, to) {
  const members = from.members.slice();
  for (const image of members) { image.cluster = to.number; image.part = -1; }
  change({ merge: [from.number, to.number, members] }, "tools-" + to.number);
}
function move(image, number) {
  if (!clusters.has(number)) clusters.set(number, { number, name: "", suggestions: [], members: [] });
  const before = [image.cluster, image.part]; image.cluster = number; image.part = -1;
  change({ move: [image, number, before] });
}
$("back").addEventListener("click", () => {
  const { name, merge, move } = done.pop();
  if (name) clusters.get(name[0]).name = name[2];
  if (merge) for (const image of merge[2]) image.cluster = merge[0];
  if (move) [move[0].cluster, move[0].part] = move[2];
  build(); showChanges();
});
function collected() {
  const edits = { format: data.format, page: data.key, names: {}, merges: {}, moves: {} };
  for (const { name, merge, move } of done) {
    if (name) edits.names[name[0]] = name[1];
    if (merge) {
      delete edits.merges[merge[1]];  // the goal of a merge is a cluster again
      edits.merges[merge[0]] = merge[1];
      for (const [key, number] of Object.entries(edits.moves)) if (number === merge[0]) edits.moves[key] = merge[1];
    }
    if (move) edits.moves[move[0].key] = move[1];
  }
  return edits;
}
$("download").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([JSON.stringify(collected(), null, 1)], { type: "application/json" }));
  el("a", null, { href: url, download: "pgjr-edits.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
});
function toolsOf(cluster) {
  const d = el("details", null, { class: "tools" }), id = "tools-" + cluster.number;
  d.append(el("summary", "Rename or merge", { id }));
  const form = el("form", null, { class: "line" }), text = el("input", null, { "aria-label": `Name of cluster ${cluster.number}`, maxlength: 80, value: cluster.name });
  form.append(text, el("button", "Rename", { type: "submit" }));
  form.addEventListener("submit", event => { event.preventDefault(); rename(cluster, text.value, id); });
  d.append(form);
  if (cluster.suggestions.length) {
    const line = el("p", "Suggested: ", { class: "line" });
    for (const [word, score] of cluster.suggestions) {
      const button = el("button", `${word} (${score.toFixed(2)})`, { type: "button", title: "Similarity to this name, above the folder’s average" });
      button.addEventListener("click", () => rename(cluster, word, id)); line.append(button);
    }
    d.append(line); d.open = !cluster.name;
  }
  const others = filled().filter(c => c !== cluster && c.number !== NONE);
  if (others.length) {
    const line = el("form", null, { class: "line" }), select = el("select", null, { "aria-label": `Merge cluster ${cluster.number} into` });
    for (const other of others) select.append(el("option", label(other), { value: other.number }));
    line.append(el("span", "Merge into"), select, el("button", "Merge", { type: "submit" }));
    line.addEventListener("submit", event => { event.preventDefault(); merge(cluster, clusters.get(Number(select.value))); });
    d.append(line);
  }
  return d;
}
function fillGoals(image) {
  const list = filled().filter(c => c.number !== NONE && c.number !== image.cluster), fresh = Math.max(-1, data.highest, ...clusters.keys()) + 1;
  const options = [...list.map(c => el("option", label(c), { value: c.number })), el("option", `A new cluster, number ${fresh}`, { value: fresh })];
  $("goal").replaceChildren(...options);
}
$("move").addEventListener("click", () => { const image = shown; move(image, Number($("goal").value)); enlarge(image); });
addEventListener("beforeunload", event => { if (done.length) event.preventDefault(); });
