// Buttons with `data-open-dialog="<id>"` open a dialog. Its form with method="dialog" closes it.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open-dialog]");
  if (opener) document.getElementById(opener.dataset.openDialog).showModal();
});
