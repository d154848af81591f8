// A page for React: happy-dom's window, and hooks that are called in a component of their own.
// Requests go through the window's own fetch, which holds the server to CORS as a browser does.

import { Window } from "happy-dom";

export const apiUrl = process.env.BASE_URL;
export const window = new Window({ url: "http://page.example/" });

const NAMES = ["window", "document", "navigator", "sessionStorage", "localStorage", "HTMLElement", "Headers"];
for (const name of NAMES) {
  const value = name === "window" ? window : window[name];
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}
globalThis.fetch = window.fetch.bind(window);

const { createElement, useEffect } = await import("react");
const { createRoot } = await import("react-dom/client");

const PATIENCE = 45_000; // milliseconds

/** Call a hook in a mounted component, again whenever it renders. */
export function mount(hook, options) {
  const checks = new Set();
  let current;

  function Probe({ options: given }) {
    current = hook(given);
    useEffect(() => checks.forEach((check) => check()));
    return null;
  }

  const root = createRoot(document.createElement("div"));
  root.render(createElement(Probe, { options }));

  return {
    get current() {
      return current;
    },
    unmount: () => root.unmount(),
    /** Wait for a render of which the condition holds; return what the hook gave. */
    until(condition, what = String(condition)) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          checks.delete(check);
          const { messages, values, isLoading, error, interrupt } = current ?? {};
          const seen = JSON.stringify({ messages, values, isLoading, interrupt });
          reject(new Error(`never came: ${what}; last seen ${seen}, error ${error}`));
        }, PATIENCE);
        function check() {
          if (current === undefined || !condition(current)) return;
          clearTimeout(timer);
          checks.delete(check);
          resolve(current);
        }
        checks.add(check);
        check();
      });
    },
  };
}

/** The texts of messages. */
export function texts(messages) {
  return messages.map(({ content }) =>
    typeof content === "string" ? content : content.map((block) => block.text).join(""),
  );
}

/** What a person says, as the input of a graph. */
export function say(text) {
  return { messages: [{ type: "human", content: text }] };
}
