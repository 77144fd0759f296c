-- The inbox in a SQLite file, as a new installation gets it. Times are integer milliseconds since 1970, UTC. Who comes
-- from the version before is brought here by migrations/versions.

CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);


-- == Events ==
--
-- What purging leaves of an event whose id is still remembered is its row without a body, under a negative seq.

CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  account TEXT NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  state TEXT NOT NULL,
  livemode INTEGER,
  received_at INTEGER NOT NULL,
  created_at INTEGER,
  connected_account TEXT,
  object_id TEXT,
  api_version TEXT,
  source TEXT NOT NULL,
  body BLOB NOT NULL,
  written_for TEXT,
  twin TEXT,  -- the id of the event of which this is another form
  trace TEXT,  -- the trace context, which the attempts of its deliveries go on
  UNIQUE (account, id)
);
CREATE UNIQUE INDEX events_twin ON events (account, twin) WHERE twin IS NOT NULL;

-- One entry an event, next to those like it: pages merge the kinds that a filter wants, each already in order.
CREATE INDEX events_kind ON events (account, type, state);

-- In order of arrival, so that intake only appends: an index by object_id alone is written all over, which costs intake
-- a tenth. Looking an object up reads all of it: 55 ms for a million events.
CREATE INDEX events_object ON events (received_at, object_id);


-- == Deliveries ==

CREATE TABLE deliveries (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  event_seq INTEGER NOT NULL REFERENCES events (seq),
  run_id TEXT NOT NULL,
  account TEXT NOT NULL,
  route TEXT NOT NULL,
  action TEXT NOT NULL,
  needs TEXT NOT NULL,
  has_dependents INTEGER NOT NULL,
  state TEXT NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  runs INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  finished_at INTEGER,
  claimed_at INTEGER,
  lease_until INTEGER,
  token TEXT,
  judged INTEGER NOT NULL DEFAULT 1,
  once_key TEXT,
  order_key TEXT,
  reason TEXT,
  last_error TEXT,
  rendered TEXT,
  output TEXT,
  fetched TEXT,  -- with the first delivery of a run, for all of it
  digest TEXT,  -- JSON: the numbers of the events that it brings
  word TEXT,  -- JSON: what people said of it, gateway.core.model.word
  waits_until INTEGER,  -- it was planned for then, or its hours begin then; null once it was claimed
  until_key TEXT  -- of the events that cancel it
);
CREATE INDEX deliveries_event ON deliveries (event_seq);
CREATE INDEX deliveries_due ON deliveries (account, route, action, due_at) WHERE state = 'pending' AND held = 0;
CREATE INDEX deliveries_running ON deliveries (lease_until) WHERE state = 'running';
CREATE INDEX deliveries_waiting ON deliveries (waits_until)
  WHERE waits_until IS NOT NULL AND state IN ('blocked', 'pending');
CREATE INDEX deliveries_until ON deliveries (until_key) WHERE until_key IS NOT NULL AND state IN ('blocked', 'pending');
CREATE INDEX deliveries_dead ON deliveries (seq) WHERE state = 'dead';

-- One for each state, so that a query's `state = '...'` is the index's own, and `held` the next column of it.
CREATE INDEX deliveries_order_pending ON deliveries (order_key, held) WHERE order_key IS NOT NULL AND state = 'pending';
CREATE INDEX deliveries_order_running ON deliveries (order_key) WHERE order_key IS NOT NULL AND state = 'running';
CREATE INDEX deliveries_once_pending ON deliveries (once_key, held) WHERE once_key IS NOT NULL AND state = 'pending';
CREATE INDEX deliveries_once_running ON deliveries (once_key) WHERE once_key IS NOT NULL AND state = 'running';
CREATE INDEX deliveries_once_done ON deliveries (once_key) WHERE once_key IS NOT NULL AND state = 'succeeded';

-- Without `running`: a claim then touches it once and the end once, and what runs is few and has its own index.
CREATE INDEX deliveries_kind ON deliveries (account, route, action, state) WHERE state <> 'running';
CREATE INDEX deliveries_finished ON deliveries (finished_at, state, created_at) WHERE finished_at IS NOT NULL;

CREATE TABLE attempts (
  delivery_seq INTEGER NOT NULL REFERENCES deliveries (seq),
  number INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  error TEXT,
  exchanges TEXT,  -- JSON: what was sent and answered, perhaps compressed and sealed; null: not kept
  PRIMARY KEY (delivery_seq, number)
) WITHOUT ROWID;

CREATE TABLE numbers (  -- the highest seq that a purge has removed, by table: none is given a second time
  name TEXT PRIMARY KEY,
  last INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE done_once (  -- once keys that were done, after the delivery that did it was purged
  once_key TEXT PRIMARY KEY,
  delivery_id TEXT NOT NULL,
  done_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX done_once_age ON done_once (done_at);

CREATE TABLE until_events (  -- of each key of `until` the event that happened last: it cancels what is planned for before
  until_key TEXT PRIMARY KEY,
  event_seq INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  happened_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX until_events_age ON until_events (seen_at);


-- == Connections, and what gateways keep for each other ==

CREATE TABLE connections (
  name TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER,
  reason TEXT,
  failures INTEGER NOT NULL,
  pauses INTEGER NOT NULL,
  failed_delivery TEXT
) WITHOUT ROWID;

CREATE TABLE rates (name TEXT PRIMARY KEY, tokens REAL NOT NULL, filled_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, marked_at INTEGER NOT NULL) WITHOUT ROWID;  -- when it was last done or told
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, kept_at INTEGER NOT NULL) WITHOUT ROWID;


-- == People ==

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  role TEXT NOT NULL,
  who TEXT NOT NULL,
  what TEXT NOT NULL,
  target TEXT NOT NULL,
  count INTEGER NOT NULL
);

CREATE TABLE rejected (  -- requests that were rejected, kept apart from the inbox, and bounded
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  received_at INTEGER NOT NULL,
  account TEXT,
  reason TEXT NOT NULL,
  address TEXT NOT NULL,
  peer TEXT NOT NULL,
  forwarded_for TEXT,
  signature TEXT,
  size INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX rejected_shares ON rejected (address, seq DESC, size);
CREATE INDEX rejected_age ON rejected (received_at);
