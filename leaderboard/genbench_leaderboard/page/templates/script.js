// Sorting, filtering, opening rows and copying commands. Without it, the page is whole: every table and every row
// are there, in their order. What a reader chose is kept in the address after `#?`, so that it can be shared.
(() => {
  "use strict";
  const all = (what, inside = document) => [...inside.querySelectorAll(what)];
  const chosen = () => new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
  const choose = (name, value) => {
    const state = chosen();
    if (value) state.set(name, value);
    else state.delete(name);
    const text = state.toString();
    history.replaceState(null, "", text ? `#?${text}` : location.href.split("#")[0] + "#");
  };

  // Sorting: a column's button goes from its first direction to the other one, then back to the order of the board.
  const key = (row, place, isNumber) => {
    const value = row.cells[place].dataset.v ?? row.cells[place].textContent.trim();
    return isNumber ? (value === "" ? NaN : Number(value)) : value.toLowerCase();
  };
  const sortBy = (table, place, order) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head) => head.setAttribute("aria-sort", "none"));
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => a.dataset.place - b.dataset.place);
    if (order) {
      const isNumber = heads[place].dataset.kind === "number";
      const sign = order === "d" ? -1 : 1;
      const keys = new Map(rows.map((row) => [row, key(row, place, isNumber)]));
      const isEmpty = (value) => (isNumber ? Number.isNaN(value) : value === "" || value === "-");
      rows.sort((a, b) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (isEmpty(x) || isEmpty(y)) return isEmpty(x) - isEmpty(y); // what has no value is last, either way
        return sign * (isNumber ? x - y : x.localeCompare(y, "en", { numeric: true }));
      });
      heads[place].setAttribute("aria-sort", order === "d" ? "descending" : "ascending");
    }
    body.append(...rows);
  };
  const next = (head) => {
    const orders = head.dataset.kind === "number" ? ["d", "a", ""] : ["a", "d", ""];
    const now = { ascending: "a", descending: "d", none: "" }[head.getAttribute("aria-sort") ?? "none"];
    return now === "" ? orders[0] : orders[orders.indexOf(now) + 1];
  };
  for (const table of all("table[data-sortable]")) {
    [...table.tBodies[0].rows].forEach((row, place) => (row.dataset.place = place));
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = next(head);
        sortBy(table, place, order);
        choose(`${table.id}.sort`, order && `${place}${order}`);
      });
    });
  }

  // Filtering: every word is somewhere in the row, and its kind is checked.
  const filter = (tools) => {
    const table = document.getElementById(tools.dataset.of);
    const words = tools.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(all("input[type=checkbox]", tools).filter((box) => !box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.dataset.text.toLowerCase();
      row.hidden = off.has(row.dataset.kind) || !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    tools.querySelector("output").textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
  };
  for (const tools of all(".tools")) {
    tools.hidden = false;
    tools.addEventListener("input", () => {
      filter(tools);
      choose(`${tools.dataset.of}.find`, tools.querySelector("input[type=search]").value);
      const off = all("input[type=checkbox]", tools).filter((box) => !box.checked).map((box) => box.value);
      choose(`${tools.dataset.of}.hide`, off.join(","));
    });
  }

  // Opening a row: what stands in its place further down is moved into the dialog, and back when that is closed.
  const dialog = document.getElementById("row");
  const body = dialog.querySelector(".body");
  let home = null;
  const putBack = () => {
    if (home) home.append(...body.childNodes);
    home = null;
  };
  const opener = (id) => document.querySelector(`a[data-open="${CSS.escape(id)}"]`);
  const neighbour = (id, step) => {
    const rows = [...(opener(id)?.closest("tbody").rows ?? [])].filter((row) => !row.hidden);
    const place = rows.findIndex((row) => row.querySelector("a[data-open]").dataset.open === id);
    return rows[place + step]?.querySelector("a[data-open]").dataset.open;
  };
  const open = (id) => {
    const row = document.getElementById(id);
    if (!row?.matches("details.opened")) return;
    putBack();
    home = row.querySelector(".inside");
    for (const same of all("[data-same]", home)) {
      // The same images belong to several rows, and are in the page once.
      const picture = document.getElementById(same.dataset.same)?.cloneNode();
      picture?.removeAttribute("id");
      if (picture) same.replaceWith(picture);
    }
    body.append(...home.childNodes);
    dialog.querySelector("h2").textContent = row.querySelector("summary").textContent;
    dialog.dataset.id = id;
    for (const button of all("button[data-step]", dialog)) button.disabled = !neighbour(id, Number(button.dataset.step));
    choose("row", id);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  dialog.addEventListener("close", () => {
    putBack();
    choose("row", "");
    opener(dialog.dataset.id)?.focus();
  });
  dialog.addEventListener("click", (event) => {
    const { step, close } = event.target.dataset;
    if (step) open(neighbour(dialog.dataset.id, Number(step)));
    if (close !== undefined || event.target === dialog) dialog.close();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-open]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link.dataset.open);
  });

  // Copying: where a browser does not let a page write to the clipboard, the command is selected instead.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  all("button[data-copy]").forEach((button) => (button.hidden = false));

  const restore = () => {
    const state = chosen();
    for (const table of all("table[data-sortable]")) {
      const [, place, order] = /^(\d+)([ad])$/.exec(state.get(`${table.id}.sort`) ?? "") ?? [];
      if (place && Number(place) < table.tHead.rows[0].cells.length) sortBy(table, Number(place), order);
    }
    for (const tools of all(".tools")) {
      tools.querySelector("input[type=search]").value = state.get(`${tools.dataset.of}.find`) ?? "";
      const off = new Set((state.get(`${tools.dataset.of}.hide`) ?? "").split(","));
      for (const box of all("input[type=checkbox]", tools)) box.checked = !off.has(box.value);
      filter(tools);
    }
    const anchor = decodeURIComponent(location.hash.slice(1));
    const id = state.get("row") ?? anchor;
    if (id) open(id);
  };
  restore();
  addEventListener("hashchange", restore);
})();
