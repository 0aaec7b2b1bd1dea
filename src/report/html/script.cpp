#include "script.hpp"

#include "winnow/base/sha256.hpp"

namespace winnow::report {

const std::string_view kScript = R"js(
"use strict";
(() => {
  const element = (name, properties) => Object.assign(document.createElement(name), properties);
  const shown = (row, column) => row.cells.length > column ? row.cells[column].textContent.trim() : "";
  const units = {kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15};

  /* NaN if it is none: comes last, whichever way round */
  const number = (text) => {
    if (/^-?inf$/.test(text)) return text === "inf" ? Infinity : -Infinity;
    const found = /^[<+]?(-?[\d.]+(?:e[+-]?\d+)?)(?: (\S+))?/.exec(text);
    return found ? Number(found[1]) * (units[found[2]] || 1) : NaN;
  };

  const ordered = (rows, column, numeric, descending) => {
    const keyed = rows.map((row) => {
      const text = shown(row, column);
      return {row, key: numeric ? number(text) : text, none: numeric ? Number.isNaN(number(text)) : text === "" || text === "-"};
    });
    const collator = new Intl.Collator(undefined, {numeric: true});
    const compare = numeric ? (a, b) => (a > b) - (a < b) : collator.compare;
    keyed.sort((a, b) => (a.none - b.none) || (a.none ? 0 : descending ? compare(b.key, a.key) : compare(a.key, b.key)));
    return keyed.map((one) => one.row);
  };

  const sortable = (table) => {
    const body = table.tBodies[0], original = [...body.rows], headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const texts = original.map((row) => shown(row, column)).filter((text) => text !== "" && text !== "-");
      const numeric = texts.length !== 0 && texts.every((text) => !Number.isNaN(number(text)) && heading.className !== "a");
      const first = numeric ? "descending" : "ascending", second = numeric ? "ascending" : "descending";
      const button = element("button", {type: "button", className: "sort"});
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const now = heading.getAttribute("aria-sort");
        const next = now === null ? first : now === first ? second : null;
        for (const other of headings) other.removeAttribute("aria-sort");
        if (next !== null) heading.setAttribute("aria-sort", next);
        body.append(...(next === null ? original : ordered(original, column, numeric, next === "descending")));
      });
    });
  };

  const searchable = (region, table) => {
    const body = table.tBodies[0], rows = [...body.rows], total = rows.length.toLocaleString("en");
    const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    const label = element("label", {className: "find", textContent: "Find "});
    const field = element("input", {type: "search", placeholder: "words of a row", autocomplete: "off", spellcheck: false});
    const count = element("output", {className: "soft"});
    count.setAttribute("aria-live", "polite");
    label.append(field, " ", count);
    region.before(label);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
      let found = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        found += !row.hidden;
      });
      body.classList.toggle("found", words.length !== 0);
      count.textContent = words.length === 0 ? "" : found.toLocaleString("en") + " of " + total;
    });
  };

  for (const region of document.querySelectorAll(".sortable")) {
    const table = region.querySelector("table");
    sortable(table);
    if (region.classList.contains("tall")) searchable(region, table);
  }
})();
)js";

std::string script_source() { return "'sha256-" + base::sha256_base64(kScript) + "'"; }

}  // namespace winnow::report
