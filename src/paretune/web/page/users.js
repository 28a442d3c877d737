// Stored users: seen, asked on, used, taken along as a file, deleted for good.
import { ask } from "./server.js";
import { button, clear, notice, say } from "./parts.js";

const { html, percent, printable } = paretoFront;

export class Users {
  constructor(asked, used, deleted) {
    Object.assign(this, { asked, used, deleted });
    this.list = html("ul", { class: "users" });
    this.trouble = html("div", {});
    this.node = html("details", { class: "stored", hidden: true }, html("summary", {}, "Who was asked"), this.trouble, this.list);
  }

  async read() {
    try {
      const { users } = await ask("api/users");
      clear(this.trouble);
      clear(this.list, users.map((user) => this.row(user)));
      this.node.hidden = !users.length;
    } catch (error) {
      if (error.status === 404) return;
      this.node.hidden = false;
      clear(this.trouble, notice(error, () => this.read()));
    }
  }

  row({ id, answers, tradeoff }) {
    const weights = Object.entries(tradeoff ?? {}).map(([name, weight]) => `${name} ${percent(Math.round(100 * weight) / 100)}`);
    const actions = html("span", { class: "actions" });
    const usual = () => clear(
      actions,
      button("Go on", () => this.asked(id), { class: "plain", "aria-label": `Ask ${id} more` }),
      button("Use", () => this.used(id), { class: "plain", "aria-label": `Answer as ${id}` }),
      button("Export", () => this.save(id), { class: "plain", "aria-label": `Export the answers of ${id}` }),
      button("Delete", sure, { class: "plain", "aria-label": `Delete ${id}` }),
    );
    const sure = () => {
      clear(
        actions, html("span", {}, "Delete all answers? "), button("Delete", () => this.remove(id), { class: "bad" }),
        button("Keep", () => { usual(); actions.lastElementChild.focus(); }, { class: "plain" }),
      );
      actions.lastElementChild.focus();
    };
    usual();
    return html(
      "li", {}, html("b", {}, id),
      html("span", { class: "quiet" }, `${answers} ${answers === 1 ? "answer" : "answers"}${weights.length ? ` · ${weights.join(", ")}` : ""}`), actions,
    );
  }

  async save(id) {
    await this.tried(async () => {
      const found = await ask(`api/users/${id}`);
      const address = URL.createObjectURL(new Blob([JSON.stringify(found, null, 1)], { type: "application/json" }));
      html("a", { href: address, download: `${id}.json` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
    });
  }

  async remove(id) {
    await this.tried(async () => {
      await ask(`api/users/${id}`, { method: "DELETE" });
      say(printable(`${id} is deleted.`));
      this.deleted(id);
      await this.read();
      this.node.querySelector("summary").focus();
    });
  }

  async tried(work) {
    clear(this.trouble);
    try {
      await work();
    } catch (error) {
      clear(this.trouble, notice(error, () => this.tried(work)));
    }
  }
}
