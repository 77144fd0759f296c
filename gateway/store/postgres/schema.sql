-- The inbox on PostgreSQL, as a new installation gets it: tables and indexes. Times are integer milliseconds since 1970,
-- UTC. What changes them is in functions.sql; who comes from the version before is brought here by migrations/versions.

CREATE TABLE alembic_version (
  version_num character varying(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE facts (  -- what holds for the whole store, such as the oldest program that its schema suits
  name text PRIMARY KEY,
  value text NOT NULL
);


-- == Events ==
--
-- What purging leaves of an event whose id is still remembered is its row without a body, under a negative number:
-- UNIQUE (id, account) goes on refusing duplicates at no cost to intake. Whoever asks for events asks for seq > 0, and
-- passes by the one kind that all of them have: no type, and the state `purged`.

CREATE SEQUENCE events_seq;  -- CACHE 1: numbers kept ready by one session would not be in order of arrival
CREATE SEQUENCE remembered_seq;

CREATE TABLE events (
  seq bigint PRIMARY KEY,
  account text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL,
  livemode boolean,
  received_at bigint NOT NULL,
  created_at bigint,
  connected_account text COLLATE "C",
  object_id text COLLATE "C",
  api_version text COLLATE "C",
  source text COLLATE "C" NOT NULL,
  body bytea NOT NULL,
  written_for text COLLATE "C",
  twin text COLLATE "C",  -- the id of the event of which this is another form
  trace text COLLATE "C",  -- the trace context, which the attempts of its deliveries go on
  UNIQUE (id, account)  -- in this order, so that it also finds an event by its id alone
) WITH (
  -- Counting by an index alone needs a table whose older pages are marked as seen by all; inserts alone mark them late.
  autovacuum_vacuum_insert_scale_factor = 0.02,
  -- Purged rows are found and their room is used again long before a fifth of a large table is gone.
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000
);

DO $$ BEGIN
  ALTER TABLE events ALTER COLUMN body SET COMPRESSION lz4;  -- a fifth of pglz's time, where the server has it
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

CREATE UNIQUE INDEX events_twin ON events (account, twin) WHERE twin IS NOT NULL;

-- What a page of the console filters by stands in its index, so that it reads nothing else. One entry an event, next to
-- those like it, in order of arrival: pages merge the kinds that a filter wants.
CREATE INDEX events_kind ON events (account, type, state, seq) INCLUDE (received_at);

-- By day, so that intake writes to the few pages of today's part only: an index by object_id alone is written all over.
-- Looking an object up takes one look for each day that there are events of.
-- By a hash: an id of 66 characters would make it the largest of all indexes.
CREATE INDEX events_object ON events ((received_at / 86400000), hashtext(object_id)) WHERE object_id IS NOT NULL;

CREATE INDEX events_time ON events (received_at, state);


-- == Deliveries ==

CREATE SEQUENCE deliveries_seq;

-- Partitioned by state: what is still owed stays small, however much is finished.
CREATE TABLE deliveries (
  seq bigint NOT NULL,
  id text COLLATE "C" NOT NULL,
  event_seq bigint NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  account text COLLATE "C" NOT NULL,
  route text COLLATE "C" NOT NULL,
  action text COLLATE "C" NOT NULL,
  needs text COLLATE "C" NOT NULL,
  has_dependents boolean NOT NULL,
  state text COLLATE "C" NOT NULL,
  held boolean NOT NULL DEFAULT false,
  due_at bigint NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  runs integer NOT NULL DEFAULT 0,
  created_at bigint NOT NULL,
  finished_at bigint,
  claimed_at bigint,
  lease_until bigint,
  token text COLLATE "C",
  judged boolean NOT NULL DEFAULT true,
  once_key text COLLATE "C",
  order_key text COLLATE "C",
  reason text COLLATE "C",
  last_error text COLLATE "C",
  rendered text COLLATE "C",
  output text COLLATE "C",
  fetched text COLLATE "C",  -- with the first delivery of a run, for all of it
  digest text COLLATE "C",  -- JSON: the numbers of the events that it brings
  word text COLLATE "C",  -- JSON: what people said of it, gateway.core.model.word
  waits_until bigint,  -- it was planned for then, or its hours begin then; null once it was claimed
  until_key text COLLATE "C"  -- of the events that cancel it
) PARTITION BY LIST (state);

CREATE TABLE deliveries_open PARTITION OF deliveries FOR VALUES IN ('blocked', 'pending', 'running')
  WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE TABLE deliveries_finished PARTITION OF deliveries
  FOR VALUES IN ('succeeded', 'skipped', 'cancelled', 'dead', 'expired')
  WITH (
    autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 10000
  );

CREATE UNIQUE INDEX deliveries_seq_state ON deliveries (seq, state);
CREATE UNIQUE INDEX deliveries_id_state ON deliveries (id, state);
CREATE INDEX deliveries_event ON deliveries (event_seq);
CREATE INDEX deliveries_due ON deliveries_open (account, route, action, due_at) WHERE state = 'pending' AND NOT held;
CREATE INDEX deliveries_leases ON deliveries_open (lease_until) WHERE state = 'running';
CREATE INDEX deliveries_order_pending ON deliveries_open (order_key, seq)
  WHERE order_key IS NOT NULL AND state = 'pending';
CREATE INDEX deliveries_order_running ON deliveries_open (order_key)
  WHERE order_key IS NOT NULL AND state = 'running';
CREATE INDEX deliveries_once_pending ON deliveries_open (once_key, seq)
  WHERE once_key IS NOT NULL AND state = 'pending';
CREATE INDEX deliveries_once_running ON deliveries_open (once_key)
  WHERE once_key IS NOT NULL AND state = 'running';
CREATE INDEX deliveries_once_done ON deliveries_finished (once_key)
  WHERE once_key IS NOT NULL AND state = 'succeeded';
CREATE INDEX deliveries_waiting ON deliveries_open (waits_until) WHERE waits_until IS NOT NULL;
CREATE INDEX deliveries_until ON deliveries_open (until_key) WHERE until_key IS NOT NULL;
CREATE INDEX deliveries_dead ON deliveries_finished (seq) WHERE state = 'dead';
CREATE INDEX deliveries_ended ON deliveries_finished (finished_at, state, created_at);

-- Without `running`: a claim then touches it not at all, and what runs is few and has its own index. The condition is
-- written so that the planner never takes this index for the statements that claim and finish.
CREATE INDEX deliveries_kind ON deliveries (account, route, action, state, seq) INCLUDE (created_at)
  WHERE (state = 'running') IS NOT TRUE;

CREATE TABLE attempts (
  delivery_seq bigint NOT NULL,
  number integer NOT NULL,
  started_at bigint NOT NULL,
  duration_ms bigint NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  error text COLLATE "C",
  exchanges text COLLATE "C",  -- JSON: what was sent and answered, perhaps compressed and sealed; null: not kept
  PRIMARY KEY (delivery_seq, number)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);

CREATE TABLE done_once (  -- once keys that were done, after the delivery that did it was purged
  once_key text COLLATE "C" PRIMARY KEY,
  delivery_id text COLLATE "C" NOT NULL,
  done_at bigint NOT NULL
);
CREATE INDEX done_once_age ON done_once (done_at);

CREATE TABLE until_events (  -- of each key of `until` the event that happened last: it cancels what is planned for before
  until_key text COLLATE "C" PRIMARY KEY,
  event_seq bigint NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  happened_at bigint NOT NULL,
  seen_at bigint NOT NULL
);
CREATE INDEX until_events_age ON until_events (seen_at);


-- == Connections, and what gateways keep for each other ==

CREATE TABLE connections (
  name text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL,
  state text COLLATE "C" NOT NULL,
  since bigint NOT NULL,
  until bigint,
  reason text COLLATE "C",
  failures integer NOT NULL,
  pauses integer NOT NULL,
  failed_delivery text COLLATE "C"
);

CREATE TABLE rates (
  name text COLLATE "C" PRIMARY KEY,
  tokens double precision NOT NULL,
  filled_at bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE marks (  -- when something was last done or told
  name text COLLATE "C" PRIMARY KEY,
  marked_at bigint NOT NULL
);

CREATE TABLE leases (name text COLLATE "C" PRIMARY KEY, holder text NOT NULL, until_at bigint NOT NULL);
CREATE TABLE notes (name text COLLATE "C" PRIMARY KEY, value text NOT NULL, kept_at bigint NOT NULL);


-- == People ==

CREATE SEQUENCE audit_seq;
CREATE TABLE audit (
  seq bigint PRIMARY KEY DEFAULT nextval('audit_seq'),
  at bigint NOT NULL,
  role text COLLATE "C" NOT NULL,
  who text COLLATE "C" NOT NULL,
  what text COLLATE "C" NOT NULL,
  target text COLLATE "C" NOT NULL,
  count bigint NOT NULL
);

CREATE SEQUENCE rejected_seq;
CREATE TABLE rejected (  -- requests that were rejected, kept apart from the inbox, and bounded
  seq bigint PRIMARY KEY DEFAULT nextval('rejected_seq'),
  id text COLLATE "C" NOT NULL UNIQUE,
  received_at bigint NOT NULL,
  account text COLLATE "C",
  reason text COLLATE "C" NOT NULL,
  address text COLLATE "C" NOT NULL,
  peer text COLLATE "C" NOT NULL,
  forwarded_for text COLLATE "C",
  signature text COLLATE "C",
  size bigint NOT NULL,
  body bytea NOT NULL
);
CREATE INDEX rejected_shares ON rejected (address, seq DESC) INCLUDE (size);
CREATE INDEX rejected_age ON rejected (received_at);
