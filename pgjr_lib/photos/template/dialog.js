// ---- one image, large: its facts, what is like it, and its way to another cluster ----
const large = $("large"), frame = $("frame");
let shown = null;
const address = image => [".", ...about.link.split("/"), ...image.file.split("/")].map(encodeURIComponent).join("/");
function enlarge(image) {
  shown = image;
  const small = el("img", null, { src: source(image), alt: image.file });
  frame.replaceChildren(small);
  if (about.link) {  // the photograph itself takes the thumbnail's place where it is there and the browser can show it
    const whole = new Image(); whole.alt = image.file;
    whole.addEventListener("load", () => { if (shown === image) frame.replaceChildren(whole); });
    whole.src = address(image);
  }
  $("large-name").replaceChildren(about.link ? el("a", image.file, { href: address(image), target: "_blank", rel: "noopener" }) : image.file);
  const facts = [label(clusters.get(image.cluster)) + (image.part >= 0 ? `, part ${image.part + 1}` : "") + ".", `${image.width} × ${image.height} pixels, ${bytes(image.size)}.`];
  if (image.cluster !== NONE) facts.push(`Distance ${image.distance.toFixed(3)} from the cluster’s centre.`);
  if (image.copy) facts.push(image.copy.best ? "The best of its near-duplicates." : "There is a better copy of it.");
  if (about.link) facts.push("The link opens the file if it is still in its place beside this page.");
  $("facts").textContent = facts.join(" ");
  fillGoals(image);
  const similar = el("ul", null, { class: "gallery" });
  for (const i of image.near) { const li = el("li", null); li.append(thumbnail(images[i])); similar.append(li); }
  $("similar").replaceChildren(withArrowKeys(similar)); $("like").hidden = !image.near.length;
  if (!large.open) large.showModal();
  large.scrollTop = 0; $("close").focus({ preventScroll: true });
}
$("close").addEventListener("click", () => large.close());
$("find").addEventListener("click", () => { large.close(); goTo(shown); });
large.addEventListener("click", event => { if (event.target === large) large.close(); });
large.addEventListener("close", () => { shown = null; });
