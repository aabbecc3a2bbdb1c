// What the page asks the gateway, and what it is told: answers, problems, news.

const KEY = "titan-key";

/** What could not be answered, as application/problem+json tells it. */
export class Problem extends Error {
  constructor(status, told) {
    super(told.detail || told.title || `status ${status}`);
    this.status = status;
    this.hint = told.hint || "";
    this.told = told;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

const headers = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

function address(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") query.append(name, one);
  }
  return `/v1/${path}${query.size ? `?${query}` : ""}`;
}

/** An answer: {data, next, as_of, data_version}. Throws Problem; status 0 where the gateway itself is away. */
export async function ask(path, parameters = {}, signal = undefined) {
  let response;
  try {
    response = await fetch(address(path, parameters), { headers: headers(), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "the gateway does not answer", hint: "it is asked again by itself" });
  }
  if (response.ok) return response.json();
  throw new Problem(response.status, await response.json().catch(() => ({})));
}

const FIRST_WAIT = 500, LONGEST_WAIT = 8000, SILENCE = 40000; // milliseconds; the stream says every 15 s that it is there

/** Server-sent events for as long as the page is open: `tell(kind, message)`, `moved(isOn)` as the stream comes and goes.
 *  By fetch, since an EventSource cannot send a key. */
export async function listen(topics, tell, moved) {
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    const silence = new AbortController();
    let alarm = setTimeout(() => silence.abort(), SILENCE);
    try {
      const response = await fetch(address("stream", { topic: topics }), { headers: headers(), signal: silence.signal });
      if (response.status === 401 || response.status === 403) return moved(false, await response.json());
      if (response.ok) {
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let text = ""; ; ) {
          const { done, value } = await reader.read();
          if (done) break;
          clearTimeout(alarm);
          alarm = setTimeout(() => silence.abort(), SILENCE);
          const parts = (text + value).split("\n\n");
          text = parts.pop();
          for (const part of parts) {
            const event = Object.fromEntries(
              part.split("\n").filter((line) => /^(event|data): /.test(line)).map((line) => line.split(/: (.*)/s)),
            );
            if (!event.data) continue;
            wait = FIRST_WAIT;
            tell(event.event, JSON.parse(event.data));
          }
        }
      }
    } catch {
      // The stream ended: the loop joins it again, and `moved` says so meanwhile.
    }
    clearTimeout(alarm);
    moved(false);
    await new Promise((resume) => setTimeout(resume, wait));
  }
}
