// Menus: `<details class="menu" data-menu>`. A click outside, an item and Escape close them.
export function installMenus(menus) {
  // In the capture phase, before the command of the item: a dialog returns the focus to the element that had it.
  document.addEventListener(
    "click",
    (event) => {
      for (const menu of menus) {
        const isItem = menu.contains(event.target) && event.target.closest(".menu-items button") !== null;
        if (menu.contains(event.target) && !isItem) continue;
        menu.open = false;
        if (isItem) menu.querySelector("summary").focus();
      }
    },
    true,
  );
  for (const menu of menus) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
      event.preventDefault(); // the event stays open
    });
  }
}
