// A click on a figure opens it large, with a link that saves it. Escape, or a click anywhere, closes it.
document.addEventListener("click", (event) => {
  const image = event.target.closest("article .cell_output img, article img.figure");
  if (!image || image.closest("a, dialog")) return;
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  const large = document.createElement("img"), save = document.createElement("a"), close = document.createElement("button");
  Object.assign(large, { src: image.src, alt: image.alt });
  const title = document.querySelector("article h1")?.firstChild?.textContent ?? "figure";
  Object.assign(save, { href: image.src, download: `${title.replace(/[^\w]+/g, "-").toLowerCase()}.png`, textContent: "save as PNG" });
  Object.assign(close, { type: "button", textContent: "close" });
  dialog.append(large, save, close);
  dialog.addEventListener("click", (inside) => inside.target !== save && dialog.close());
  dialog.addEventListener("keydown", (key) => key.key === "Escape" && dialog.close()); // the theme keeps Escape for its search
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});
