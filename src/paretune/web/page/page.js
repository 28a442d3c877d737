// The page: reads what the server serves, and hands it to the front and the panels.
import { Ask } from "./ask.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { clear, notice } from "./parts.js";
import { ask, takeKey } from "./server.js";
import { State } from "./state.js";

const { html, printable } = paretoFront;
const at = (id) => document.getElementById(id);

const readRun = async () => {
  const [result, models] = await Promise.all([ask("api/front"), ask("v1/models")]);
  const start = `${result.name}/`;
  const served = models.data.filter((m) => m.id.startsWith(start));
  const names = (some) => some.map((m) => m.id.slice(start.length));
  const methods = names(served);
  const root = models.data.find((m) => m.id === result.name)?.root?.slice(start.length);
  const stepped = names(served.filter((m) => m.serves === "measured"));
  return { result, names: result.objectives, methods, stepped, method: methods.includes(root) ? root : methods[0] };
};

const listenToTabs = (state) => {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (tab) => state.set({ tab: tab.id.slice(4) });
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs[(to + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });
  state.listen(({ tab }) => {
    for (const one of tabs) {
      const isOpen = one.id === `tab-${tab}`;
      one.setAttribute("aria-selected", isOpen);
      one.tabIndex = isOpen ? 0 : -1;
      at(`panel-${one.id.slice(4)}`).hidden = !isOpen;
    }
    at("settings").hidden = tab === "ask";
    at(`panel-${tab}`).querySelector(".composer")?.after(at("settings"));
  });
};

const listenToFront = (run, state) => {
  const [front, method] = [at("front"), at("method")];
  clear(method, run.methods.map((name) => html("option", { value: name }, name)));
  front.result = run.result;
  front.stepped = run.stepped;
  front.addEventListener("tradeoff", (event) => state.move(event.detail.tradeoff, { user: "" }));
  method.addEventListener("change", () => state.set({ method: method.value }));
  at("as-user-off").addEventListener("click", () => { state.set({ user: "" }); method.focus(); });
  state.listen((values) => {
    if (front.method !== values.method) front.method = values.method;
    front.tradeoff = values.tradeoff;
    method.value = values.method;
    at("as-user").hidden = !values.user;
    at("as-user-text").textContent = `Chat answers as ${values.user} was learned.`;
  });
};

const start = async () => {
  clear(at("trouble"));
  let run;
  try {
    run = await readRun();
  } catch (error) {
    at("about").textContent = "";
    clear(at("trouble"), notice(error, start));
    return;
  }
  const name = printable(run.result.name);
  at("title").textContent = name;
  document.title = `${name} · paretune`;
  at("about").textContent = printable(
    `${run.names.join(", ")}: any trade-off, by ${run.methods.length} ${run.methods.length === 1 ? "method" : "methods"}, measured on ${run.result.n_prompts.toLocaleString("en-US")} prompts.`,
  );
  at("main").hidden = false;
  removeEventListener("hashchange", takeKey);
  const state = new State(run);
  listenToFront(run, state);
  new Chat(at("panel-chat"), run, state);
  new Compare(at("panel-compare"), run, state);
  new Ask(at("panel-ask"), run, state);
  listenToTabs(state);
};

addEventListener("hashchange", takeKey);
at("skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("work").focus();
});
takeKey();
start();
