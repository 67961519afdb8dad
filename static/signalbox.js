// What htmx does not do. "/" goes to the find box, Escape and a click elsewhere close an open menu.
document.addEventListener("keydown", function (event) {
  if (event.key === "Escape") {
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }
  var typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    var find = document.getElementById("find");
    if (find) { event.preventDefault(); find.focus(); find.select(); }
  }
});
// While people type only the errors beside the fields are exchanged; the fields are told here.
document.addEventListener("htmx:afterSettle", function () {
  document.querySelectorAll(".slot").forEach(function (slot) {
    var field = document.getElementById(slot.id.replace(/-error$/, ""));
    if (!field) return;
    if (slot.querySelector(".error:not(.advice)")) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  });
});
// A part that refreshes itself waits while someone's focus is in it, unless htmx can give the focus back by its id.
document.addEventListener("htmx:beforeRequest", function (event) {
  var part = event.detail.elt;
  var focus = document.activeElement;
  var polls = (part.getAttribute("hx-trigger") || "").indexOf("every") === 0;
  if (polls && focus !== part && part.contains(focus) && !focus.id) event.preventDefault();
});
document.addEventListener("click", function (event) {
  document.querySelectorAll("details.menu[open]").forEach(function (menu) {
    if (!menu.contains(event.target)) menu.open = false;
  });
});
