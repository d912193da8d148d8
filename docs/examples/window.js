// Residents as they are now. A browser's EventSource sends no token: proxy.py adds it.
const FEED = '/v1/resident.v2/events';
const residents = new Map();
let token = null;       // the position; null until the state was told whole
let complete = null;    // everything up to then is on this page
let source;

function follow() {
  const from = token ? `last_event_id=${encodeURIComponent(token)}` : 'from=state';
  source = new EventSource(`${FEED}?${from}`);
  source.addEventListener('open', () => {
    if (!token) residents.clear();      // the state begins, perhaps again
  });
  source.addEventListener('change', (event) => {
    const change = JSON.parse(event.data);
    if (change.op === 'put') residents.set(change.key, change.record);
    else residents.delete(change.key);
    keep(event);
  });
  source.addEventListener('live', keep);
  source.addEventListener('watermark', (event) => {
    if (token) complete = JSON.parse(event.data).complete_as_of;   // the state is whole
  });
  source.addEventListener('error', () => {
    // While CONNECTING the browser tries again by itself, after the last id it saw.
    if (source.readyState === EventSource.CLOSED) setTimeout(again, 1000 + 1000 * Math.random());
  });
}

function keep(event) {
  if (event.lastEventId) token = event.lastEventId;   // empty within the state
  show();
}

// EventSource does not say why it was refused: ask once more in a way that does.
async function again() {
  const stop = new AbortController();
  try {
    const headers = token ? { 'Last-Event-ID': token } : {};
    const answer = await fetch(FEED, { headers, signal: stop.signal });
    if (answer.status === 410) token = null;          // too old: begin with the state
    else if ([400, 401, 403, 404].includes(answer.status)) {
      document.getElementById('line').textContent = (await answer.json()).detail;
      return;
    }
  } catch { /* no line: follow() fails too, and we are here again */ }
  stop.abort();
  follow();
}

function show() {
  const rows = [...residents].sort().map(([key, record]) => {
    const row = document.createElement('tr');
    for (const text of [key, record.name, record.address_detail]) {
      row.insertCell().textContent = text;            // never innerHTML
    }
    return row;
  });
  document.getElementById('rows').replaceChildren(...rows);
}

// A clerk must see how old the page is, most of all while nothing comes.
setInterval(() => {
  if (!complete) return;
  const age = Math.max(0, (Date.now() - Date.parse(complete)) / 1000);
  document.getElementById('line').textContent =
    age < 10 ? `截至 ${age.toFixed(1)} 秒前` : `注意：数据停在 ${complete}`;
}, 200);

follow();
