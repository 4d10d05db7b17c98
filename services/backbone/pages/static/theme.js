// The menu of themes. The server renders the chosen theme into the page, so no page flashes in the wrong colours.
// A cookie holds the choice: it is valid for all ports of a host, so that all services there have the same theme.
const COOKIE = "push-theme";
const ONE_YEAR_S = 31_536_000;

const menu = document.querySelector("[data-theme-menu]");
const choices = menu.querySelectorAll("[data-theme-choice]");

function choose(theme) {
  const isSystem = theme === "system";
  document.cookie = `${COOKIE}=${isSystem ? "" : theme}; Path=/; SameSite=Lax; Max-Age=${isSystem ? 0 : ONE_YEAR_S}`;
  if (isSystem) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const choice of choices) choice.setAttribute("aria-pressed", String(choice.dataset.themeChoice === theme));
}

for (const choice of choices) {
  choice.addEventListener("click", () => {
    choose(choice.dataset.themeChoice);
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}
document.addEventListener("click", (event) => {
  if (!menu.contains(event.target)) menu.open = false;
});
menu.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
menu.hidden = false; // without JavaScript the menu could do nothing
