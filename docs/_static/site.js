// What a page does more than it needs to: without JavaScript all of it can be read.
"use strict";

// All tabs of a page follow the one that is chosen, and what is above it may grow: it stays where it was clicked.
document.addEventListener(
  "change",
  (event) => {
    const label = event.target.closest(".sd-tab-set") && event.target.nextElementSibling;
    if (!label) return;
    const top = label.getBoundingClientRect().top;
    requestAnimationFrame(() => {
      scrollBy({ top: label.getBoundingClientRect().top - top, behavior: "instant" });
    });
  },
  true,
);

// A search box above each long table.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("article table")) {
    const rows = [...table.querySelectorAll("tbody tr")];
    if (rows.length < 30) continue;
    const box = document.createElement("input");
    box.type = "search";
    box.className = "find-in-table form-control";
    box.placeholder = "Find in this table";
    box.setAttribute("aria-label", box.placeholder);
    box.addEventListener("input", () => {
      // A name is written without its modules there: `torch.nn.Linear` is sought as `linear`.
      const words = box.value.toLowerCase().split(/\s+/).map((word) => word.split(".").filter(Boolean).pop() ?? "");
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    (table.closest(".pst-scrollable-table-container") ?? table).before(box);
  }
});
