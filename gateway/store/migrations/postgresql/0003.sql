-- What the console asks for, on PostgreSQL. What a page filters by stands in its index, so that it reads nothing else.

-- One entry an event, next to those like it, in order of arrival: pages merge the kinds that a filter wants.
CREATE INDEX events_kind ON events (account, type, state, seq) INCLUDE (received_at);

-- By day, so that intake writes to the few pages of today's part only: an index by object_id alone is written all over.
-- Looking an object up takes one look for each day that there are events of.
CREATE INDEX events_object ON events ((received_at / 86400000), object_id) WHERE object_id IS NOT NULL;

CREATE INDEX events_time ON events (received_at, state);

-- Without `running`: a claim then touches it not at all, and what runs is few and has its own index. The condition is
-- written so that the planner never takes this index for the statements that claim and finish.
CREATE INDEX deliveries_kind ON deliveries (account, route, action, state, seq) INCLUDE (created_at)
  WHERE (state = 'running') IS NOT TRUE;

CREATE INDEX deliveries_ended ON deliveries_finished (finished_at, state, created_at);

-- Counting by an index alone needs a table whose older pages are marked as seen by all; inserts alone mark them late.
ALTER TABLE events SET (autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE deliveries_finished SET (autovacuum_vacuum_insert_scale_factor = 0.02);

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
