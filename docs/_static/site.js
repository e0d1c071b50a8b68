// Two buttons that pages do without: one copies code, one plays a moving picture again.

function button(name, after, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = name.toLowerCase();
  made.textContent = name;
  made.onclick = () => press(made);
  after.after(made);
}

// Prompts of a console are not among what is typed.
for (const code of navigator.clipboard ? document.querySelectorAll("div.highlight > pre") : []) {
  if (code.closest(".output, .cell_output, .highlight-text")) continue;
  button("Copy", code, async (pressed) => {
    await navigator.clipboard.writeText(code.textContent.replace(/^\$ /gm, "").trimEnd());
    pressed.textContent = "Copied";
    setTimeout(() => (pressed.textContent = "Copy"), 1500);
  });
}

for (const picture of document.querySelectorAll("picture.moving")) {
  button("Play", picture, () => {
    const image = picture.querySelector("img");
    picture.querySelector("source")?.remove(); // the still one of whoever wants no motion
    image.src = `${image.src.split("?")[0]}?${Date.now()}`;
  });
}
