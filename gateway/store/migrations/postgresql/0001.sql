-- The inbox on PostgreSQL: the tables, and the functions that change them. Times are integer milliseconds since 1970, UTC.
--
-- Each function is called by one statement that is a transaction of its own: no lock is ever held while a gateway
-- thinks, so that one which is paused or gone holds nobody up.
--
-- Locks, always taken in this order: (1) the one for claims of keyed deliveries, (2) the buckets of keys, ascending,
-- (3) rows. Whatever decides or changes a turn holds the buckets of the keys concerned.
--
-- `held` true: another goes first. It is set only while that is so, under the buckets of both keys, and whoever ends
-- clears it on the next in turn. `held` false is no more than a hint: a claim checks it under the buckets.

CREATE SEQUENCE events_seq;    -- CACHE 1: numbers kept ready by one session would not be in order of arrival
CREATE SEQUENCE deliveries_seq;

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
  UNIQUE (id, account)  -- in this order, so that it also finds an event by its id alone
);

DO $$ BEGIN
  ALTER TABLE events ALTER COLUMN body SET COMPRESSION lz4;  -- a fifth of pglz's time, where the server has it
EXCEPTION WHEN feature_not_supported THEN NULL;
END $$;

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
  output text COLLATE "C"
) PARTITION BY LIST (state);

CREATE TABLE deliveries_open PARTITION OF deliveries FOR VALUES IN ('blocked', 'pending', 'running')
  WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE TABLE deliveries_finished PARTITION OF deliveries FOR VALUES IN ('succeeded', 'skipped', 'cancelled', 'dead');

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
CREATE INDEX deliveries_dead ON deliveries_finished (seq) WHERE state = 'dead';

CREATE TABLE attempts (
  delivery_seq bigint NOT NULL,
  number integer NOT NULL,
  started_at bigint NOT NULL,
  duration_ms bigint NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  error text COLLATE "C",
  PRIMARY KEY (delivery_seq, number)
);

CREATE TABLE facts (  -- what holds for the whole store, such as the oldest program that its schema suits
  name text PRIMARY KEY,
  value text NOT NULL
);


-- Now in milliseconds; tests give a time of their own.
CREATE FUNCTION now_ms(given bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(given, (extract(epoch FROM statement_timestamp()) * 1000)::bigint)
$$;


-- Locks the buckets of keys until the transaction ends: at most 64, so that the server's table of locks, which has room
-- for 64 a connection, cannot fill up.
CREATE FUNCTION lock_keys(keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  bucket integer;
BEGIN
  FOR bucket IN SELECT DISTINCT hashtext(key) & 63 AS one FROM unnest(keys) AS key WHERE key IS NOT NULL ORDER BY one
  LOOP
    PERFORM pg_advisory_xact_lock(1734440825, bucket);
  END LOOP;
END
$$;


-- Of pending deliveries, holds those whose turn it is not. Returns the newly held. Under the buckets of their keys.
CREATE FUNCTION hold_in_turn(seqs bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  behind bigint[];
BEGIN
  WITH waiting AS (
    UPDATE deliveries d SET held = true
    WHERE d.seq = ANY (seqs) AND d.state = 'pending' AND d.held::integer = 0 AND (  -- not by way of deliveries_due
      d.order_key IS NOT NULL AND (
        EXISTS (SELECT FROM deliveries o WHERE o.order_key = d.order_key AND o.state = 'running')
        OR EXISTS (SELECT FROM deliveries o WHERE o.order_key = d.order_key AND o.state = 'pending' AND o.seq < d.seq)
      )
      OR d.once_key IS NOT NULL AND (
        EXISTS (SELECT FROM deliveries o WHERE o.once_key = d.once_key AND o.state = 'running')
        OR EXISTS (SELECT FROM deliveries o WHERE o.once_key = d.once_key AND o.state = 'pending' AND o.seq < d.seq)
      )
    )
    RETURNING d.seq
  )
  SELECT coalesce(array_agg(w.seq), '{}') INTO behind FROM waiting w;
  RETURN behind;
END
$$;


-- Lets the earliest pending delivery of each key go, where none of that key runs. Under the buckets of the keys.
-- `but` are those that have just been found to wait.
CREATE FUNCTION pass_turn(order_keys text[], once_keys text[], but bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE deliveries d SET held = false
  WHERE d.state = 'pending' AND d.held AND d.seq <> ALL (but) AND d.seq = ANY (ARRAY(
    SELECT first.seq FROM (SELECT DISTINCT unnest(order_keys) AS key) k, LATERAL (
      SELECT o.seq FROM deliveries o WHERE o.order_key = k.key AND o.state = 'pending' ORDER BY o.seq LIMIT 1
    ) first
    WHERE NOT EXISTS (SELECT FROM deliveries o WHERE o.order_key = k.key AND o.state = 'running')
    UNION ALL
    SELECT first.seq FROM (SELECT DISTINCT unnest(once_keys) AS key) k, LATERAL (
      SELECT o.seq FROM deliveries o WHERE o.once_key = k.key AND o.state = 'pending' ORDER BY o.seq LIMIT 1
    ) first
    WHERE NOT EXISTS (SELECT FROM deliveries o WHERE o.once_key = k.key AND o.state = 'running')
  ));
END
$$;


-- Makes pending the blocked deliveries of runs whose needs have all succeeded. It locks the blocked ones before it looks,
-- so that of two that finish at once the later sees what the earlier did.
CREATE FUNCTION release_dependents(now_at bigint, event_seqs bigint[], run_ids text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  waiting bigint[];
BEGIN
  waiting := ARRAY(
    SELECT b.seq FROM deliveries b
    WHERE b.event_seq = ANY (event_seqs) AND b.state = 'blocked' AND b.run_id = ANY (run_ids) ORDER BY b.seq FOR UPDATE
  );
  UPDATE deliveries b SET state = 'pending', due_at = now_at, held = false
  WHERE b.seq = ANY (waiting) AND b.state = 'blocked' AND NOT EXISTS (
    SELECT FROM jsonb_array_elements_text(b.needs::jsonb) AS need WHERE NOT EXISTS (
      SELECT FROM deliveries s WHERE s.event_seq = b.event_seq AND s.run_id = b.run_id AND s.action = need.value
      AND s.state = 'succeeded'
    )
  );
END
$$;


-- Skips the blocked deliveries of a run that need `gone`, directly or through others.
CREATE FUNCTION skip_dependents(now_at bigint, of_event bigint, of_run text, gone text, what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  WITH RECURSIVE lost AS (
    SELECT gone COLLATE "C" AS action
    UNION
    SELECT b.action FROM deliveries b JOIN lost ON b.needs::jsonb ? lost.action
    WHERE b.event_seq = of_event AND b.run_id = of_run AND b.state = 'blocked'
  )
  UPDATE deliveries b SET state = 'skipped', reason = format('needed action %s was %s', gone, what),
    finished_at = now_at
  WHERE b.event_seq = of_event AND b.run_id = of_run AND b.state = 'blocked' AND b.action IN (SELECT l.action FROM lost l);
END
$$;


-- Inserts planned deliveries, given column by column; `owner` is the place (1, 2, ...) in `event_seqs`, whose null ones
-- are left out. Under the buckets of their keys, so that numbers of one key are in the order of their commits.
CREATE FUNCTION insert_deliveries(
  now_at bigint, event_seqs bigint[], accounts text[], owner integer[], ids text[], run_ids text[], routes text[],
  actions text[], all_needs text[], with_dependents boolean[], once_keys text[], order_keys text[], errors text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  seqs bigint[];
BEGIN
  seqs := ARRAY(SELECT nextval('deliveries_seq') FROM generate_series(1, cardinality(ids)));
  INSERT INTO deliveries (
    seq, id, event_seq, run_id, account, route, action, needs, has_dependents, state, due_at, created_at, finished_at,
    judged, once_key, order_key, reason
  )
  SELECT seqs[g.place], g.id, event_seqs[g.own], g.run_id, accounts[g.own], g.route, g.action, g.needs, g.dependents,
    CASE WHEN g.error IS NOT NULL THEN 'dead' WHEN g.needs <> '[]' THEN 'blocked' ELSE 'pending' END,
    now_at, now_at, CASE WHEN g.error IS NOT NULL THEN now_at END, g.error IS NULL, g.once_key, g.order_key, g.error
  FROM unnest(owner, ids, run_ids, routes, actions, all_needs, with_dependents, once_keys, order_keys, errors)
    WITH ORDINALITY AS g(own, id, run_id, route, action, needs, dependents, once_key, order_key, error, place)
  WHERE event_seqs[g.own] IS NOT NULL;
  IF array_remove(once_keys || order_keys, NULL) <> '{}' THEN
    PERFORM hold_in_turn(seqs);
  END IF;
END
$$;


-- Commits events with their deliveries. Returns for each event whether it was new.
CREATE FUNCTION add_events(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_body bytea[],
  d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[], d_needs text[],
  d_dependents boolean[], d_once text[], d_order text[], d_error text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  seqs bigint[];
  fresh bigint[];
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order, NULL));
  seqs := ARRAY(SELECT nextval('events_seq') FROM generate_series(1, cardinality(e_id)));
  WITH given AS (
    SELECT * FROM unnest(
      seqs, e_account, e_id, e_type, e_state, e_livemode, e_created, e_connected, e_object, e_version, e_source, e_body
    ) AS g(seq, account, id, type, state, livemode, created_at, connected, object, version, source, body)
  ), stored AS (
    INSERT INTO events (
      seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version,
      source, body
    )
    SELECT g.seq, g.account, g.id, g.type, g.state, g.livemode, now_at, g.created_at, g.connected, g.object, g.version,
      g.source, g.body
    FROM given g ORDER BY g.account, g.id, g.seq  -- everybody waits for another's insert in the same order
    ON CONFLICT (account, id) DO NOTHING
    RETURNING events.seq
  )
  SELECT array_agg(stored.seq ORDER BY g.seq) INTO fresh
  FROM unnest(seqs) AS g(seq) LEFT JOIN stored ON stored.seq = g.seq;
  IF cardinality(d_id) > 0 THEN
    PERFORM insert_deliveries(
      now_at, fresh, e_account, d_owner, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order, d_error
    );
  END IF;
  RETURN ARRAY(SELECT f.seq IS NOT NULL FROM unnest(fresh) WITH ORDINALITY AS f(seq, place) ORDER BY f.place);
END
$$;


-- Makes new deliveries for a stored event. Returns whether there is such an event.
CREATE FUNCTION replay_event(
  given_now bigint, of_account text, of_id text, d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  found_seq bigint;
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order, NULL));
  SELECT e.seq INTO found_seq FROM events e WHERE e.account = of_account AND e.id = of_id FOR UPDATE;
  IF found_seq IS NULL THEN
    RETURN false;
  END IF;
  IF cardinality(d_id) > 0 THEN
    UPDATE events SET state = 'routed' WHERE seq = found_seq AND state <> 'routed';
    PERFORM insert_deliveries(
      now_ms(given_now), ARRAY[found_seq], ARRAY[of_account], array_fill(1, ARRAY[cardinality(d_id)]), d_id, d_run,
      d_route, d_action, d_needs, d_dependents, d_once, d_order, d_error
    );
  END IF;
  RETURN true;
END
$$;


-- Takes due deliveries of each lane under a lease. Returns their numbers, lane by lane.
CREATE FUNCTION claim_due(
  given_now bigint, lease_ms bigint, new_token text, accounts text[], routes text[], actions text[], limits integer[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  plain integer[] := '{}';   -- how many deliveries without keys each lane may give
  keyed bigint[] := '{}';
  their_orders text[] := '{}';
  their_onces text[] := '{}';
  taken bigint[] := '{}';
  seen record;
  lane integer;
BEGIN
  FOR lane IN 1 .. cardinality(limits) LOOP
    FOR look IN 1 .. 2 LOOP
      SELECT count(*) FILTER (WHERE p.order_key IS NULL AND p.once_key IS NULL) AS plain,
        coalesce(array_agg(p.seq) FILTER (WHERE p.order_key IS NOT NULL OR p.once_key IS NOT NULL), '{}') AS keyed,
        array_agg(p.order_key) FILTER (WHERE p.order_key IS NOT NULL) AS orders,
        array_agg(p.once_key) FILTER (WHERE p.once_key IS NOT NULL) AS onces
      INTO seen
      FROM (
        SELECT d.seq, d.order_key, d.once_key FROM deliveries d
        WHERE d.account = accounts[lane] AND d.route = routes[lane] AND d.action = actions[lane]
          AND d.state = 'pending' AND NOT d.held AND d.due_at <= now_at
        ORDER BY d.due_at LIMIT limits[lane]
      ) p;
      EXIT WHEN seen.keyed = '{}' OR look = 2 OR keyed <> '{}';
      -- Gateways claim keyed deliveries one after another; otherwise they would all reach for the same ones.
      PERFORM pg_advisory_xact_lock(1734440825, 64);
    END LOOP;
    plain := plain || seen.plain::integer;
    keyed := keyed || seen.keyed;
    their_orders := their_orders || seen.orders;
    their_onces := their_onces || seen.onces;
  END LOOP;
  IF keyed <> '{}' THEN
    PERFORM lock_keys(their_orders || their_onces);
    PERFORM skip_done_once(now_at, keyed);
    PERFORM pass_turn(their_orders, their_onces, hold_in_turn(keyed));
    taken := ARRAY(
      SELECT d.seq FROM deliveries d
      WHERE d.seq = ANY (keyed) AND d.state = 'pending' AND d.held::integer = 0 AND d.due_at <= now_at
        AND (d.order_key IS NULL OR d.order_key = ANY (their_orders))  -- a key given since then is not locked
        AND (d.once_key IS NULL OR d.once_key = ANY (their_onces))
      ORDER BY array_position(keyed, d.seq) FOR UPDATE SKIP LOCKED
    );
  END IF;
  FOR lane IN 1 .. cardinality(limits) LOOP
    IF plain[lane] > 0 THEN
      taken := taken || ARRAY(
        SELECT d.seq FROM deliveries d
        WHERE d.account = accounts[lane] AND d.route = routes[lane] AND d.action = actions[lane]
          AND d.state = 'pending' AND NOT d.held AND d.due_at <= now_at
          AND d.order_key IS NULL AND d.once_key IS NULL
        ORDER BY d.due_at LIMIT plain[lane] FOR UPDATE SKIP LOCKED
      );
    END IF;
  END LOOP;
  UPDATE deliveries d SET state = 'running', token = new_token, lease_until = now_at + lease_ms, claimed_at = now_at,
    attempts = d.attempts + 1, runs = d.runs + 1
  WHERE d.seq = ANY (taken) AND d.state = 'pending';
  RETURN taken;
END
$$;


-- Of pending deliveries, ends as skipped those on whose once_key another has succeeded. Under the buckets of their keys.
CREATE FUNCTION skip_done_once(now_at bigint, seqs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  found record;
BEGIN
  FOR found IN
    WITH ended AS (
      UPDATE deliveries d SET state = 'skipped', finished_at = now_at, reason = format('once_per: %s has done it', (
        SELECT o.id FROM deliveries o WHERE o.once_key = d.once_key AND o.state = 'succeeded' LIMIT 1
      ))
      WHERE d.seq = ANY (seqs) AND d.state = 'pending' AND EXISTS (
        SELECT FROM deliveries o WHERE o.once_key = d.once_key AND o.state = 'succeeded'
      )
      RETURNING d.event_seq, d.run_id, d.action, d.has_dependents, d.order_key, d.once_key
    )
    SELECT * FROM ended
  LOOP
    IF found.has_dependents THEN
      PERFORM skip_dependents(now_at, found.event_seq, found.run_id, found.action, 'skipped');
    END IF;
    PERFORM pass_turn(ARRAY[found.order_key], ARRAY[found.once_key], '{}');
  END LOOP;
END
$$;


-- Extends leases. Returns the ids of those that were lost.
CREATE FUNCTION renew_leases(given_now bigint, lease_ms bigint, ids text[], tokens text[]) RETURNS text[]
LANGUAGE plpgsql AS $$
BEGIN
  -- Whoever holds a row now is about to end that delivery: it needs no lease any more.
  UPDATE deliveries d SET lease_until = now_ms(given_now) + lease_ms
  WHERE d.state = 'running' AND d.seq = ANY (ARRAY(
    SELECT r.seq FROM deliveries r JOIN unnest(ids, tokens) AS g(id, token) ON r.id = g.id AND r.token = g.token
    WHERE r.state = 'running' FOR UPDATE OF r SKIP LOCKED
  ));
  RETURN ARRAY(
    SELECT g.id FROM unnest(ids, tokens) AS g(id, token) WHERE NOT EXISTS (
      SELECT FROM deliveries r WHERE r.id = g.id AND r.token = g.token AND r.state = 'running'
    )
  );
END
$$;


-- Records how claims ended and releases whoever waited for them. Returns for each whether its lease still held, and at
-- the end whether this may have made work for others.
CREATE FUNCTION finish_claims(
  given_now bigint, f_id text[], f_token text[], f_state text[], f_wait bigint[], f_reason text[], f_rendered text[],
  f_output text[], a_outcome text[], a_started bigint[], a_duration bigint[], a_error text[], f_rekeyed boolean[],
  f_once text[], f_order text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  orders text[];
  onces text[];
  places bigint[];
  released_events bigint[];
  released_runs text[];
  skipped jsonb;
  one record;
BEGIN
  SELECT array_agg(d.order_key) FILTER (WHERE d.order_key IS NOT NULL),
    array_agg(d.once_key) FILTER (WHERE d.once_key IS NOT NULL)
  INTO orders, onces FROM deliveries d WHERE d.id = ANY (f_id) AND d.state = 'running';
  orders := orders || array_remove(f_order, NULL);
  onces := onces || array_remove(f_once, NULL);
  PERFORM lock_keys(orders || onces);
  WITH given AS (
    SELECT * FROM unnest(
      f_id, f_token, f_state, f_wait, f_reason, f_rendered, f_output, a_outcome, a_started, a_duration, a_error,
      f_rekeyed, f_once, f_order
    ) WITH ORDINALITY AS g(
      id, token, state, wait, reason, rendered, output, outcome, started, duration, error, rekeyed, once, ordering, place
    )
  ), ended AS (
    UPDATE deliveries d SET state = g.state, token = NULL, lease_until = NULL, held = false, due_at = now_at + g.wait,
      finished_at = CASE WHEN g.state <> 'pending' THEN now_at END, reason = g.reason,
      last_error = coalesce(g.error, d.last_error), rendered = coalesce(g.rendered, d.rendered),
      output = coalesce(g.output, d.output),
      attempts = d.attempts - (g.outcome IS NULL)::integer, runs = d.runs - (g.outcome IS NULL)::integer,
      judged = d.judged OR g.rekeyed,
      once_key = CASE WHEN g.rekeyed THEN g.once ELSE d.once_key END,
      order_key = CASE WHEN g.rekeyed THEN g.ordering ELSE d.order_key END
    FROM given g WHERE d.id = g.id AND d.token = g.token AND d.state = 'running'
    RETURNING g.place, d.seq, d.runs, d.event_seq, d.run_id, d.action, d.state, d.has_dependents, g.outcome, g.started,
      g.duration, g.error
  ), recorded AS (
    INSERT INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)
    SELECT e.seq, e.runs, e.started, e.duration, e.outcome, e.error FROM ended e WHERE e.outcome IS NOT NULL
    ON CONFLICT DO NOTHING
  )
  SELECT array_agg(e.place),
    array_agg(e.event_seq) FILTER (WHERE e.has_dependents AND e.state = 'succeeded'),
    array_agg(e.run_id) FILTER (WHERE e.has_dependents AND e.state = 'succeeded'),
    jsonb_agg(jsonb_build_array(e.event_seq, e.run_id, e.action)) FILTER (WHERE e.has_dependents AND e.state = 'skipped')
  INTO places, released_events, released_runs, skipped FROM ended e;
  IF released_events IS NOT NULL THEN
    PERFORM release_dependents(now_at, released_events, released_runs);
  END IF;
  FOR one IN SELECT s.value AS v FROM jsonb_array_elements(skipped) AS s ORDER BY (s.value ->> 0)::bigint LOOP
    PERFORM skip_dependents(now_at, (one.v ->> 0)::bigint, one.v ->> 1, one.v ->> 2, 'skipped');
  END LOOP;
  IF orders <> '{}' OR onces <> '{}' THEN
    PERFORM pass_turn(orders, onces, '{}');
  END IF;
  RETURN ARRAY(SELECT coalesce(p.place = ANY (places), false) FROM generate_series(1, cardinality(f_id)) AS p(place))
    || (released_events IS NOT NULL OR orders <> '{}' OR onces <> '{}' OR 'pending' = ANY (f_state));
END
$$;


-- Takes over deliveries whose lease has ended: the attempt is recorded as interrupted, the delivery is due. How many.
CREATE FUNCTION take_over(given_now bigint, error_text text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  late bigint[];
  orders text[];
  onces text[];
  mine bigint[];
BEGIN
  SELECT array_agg(o.seq), array_agg(o.order_key), array_agg(o.once_key) INTO late, orders, onces FROM (
    SELECT d.seq, d.order_key, d.once_key FROM deliveries d WHERE d.state = 'running' AND d.lease_until < now_at
    ORDER BY d.lease_until LIMIT 500
  ) o;
  IF late IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM lock_keys(orders || onces);
  mine := ARRAY(
    SELECT d.seq FROM deliveries d WHERE d.seq = ANY (late) AND d.state = 'running' AND d.lease_until < now_at
    FOR UPDATE SKIP LOCKED
  );
  INSERT INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)
  SELECT d.seq, d.runs, d.claimed_at, greatest(0, now_at - d.claimed_at), 'interrupted', error_text
  FROM deliveries d WHERE d.seq = ANY (mine) AND d.state = 'running' ON CONFLICT DO NOTHING;
  UPDATE deliveries d SET state = 'pending', held = false, token = NULL, lease_until = NULL, due_at = now_at,
    last_error = error_text
  WHERE d.seq = ANY (mine) AND d.state = 'running';
  PERFORM pass_turn(orders, onces, '{}');
  RETURN cardinality(mine);
END
$$;


-- Revives deliveries. Returns for each null where done, else why not.
CREATE FUNCTION retry_deliveries(given_now bigint, ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  refusals text[] := '{}';
  wanted text;
  holder text;
  d record;
BEGIN
  PERFORM lock_keys(ARRAY(
    SELECT unnest(ARRAY[f.order_key, f.once_key]) FROM deliveries f WHERE f.id = ANY (ids)
  ));
  FOREACH wanted IN ARRAY ids LOOP
    SELECT * INTO d FROM deliveries f WHERE f.id = wanted FOR UPDATE;
    holder := NULL;
    IF d.seq IS NOT NULL AND d.once_key IS NOT NULL THEN
      SELECT o.id INTO holder FROM deliveries o
      WHERE o.once_key = d.once_key AND o.state = 'succeeded' AND o.seq <> d.seq LIMIT 1;
    END IF;
    IF d.seq IS NULL THEN
      refusals := refusals || 'there is no such delivery'::text;
    ELSIF d.state = 'pending' THEN
      UPDATE deliveries f SET due_at = now_at WHERE f.seq = d.seq AND f.state = 'pending';
      refusals := refusals || NULL::text;
    ELSIF d.state = 'running' THEN
      refusals := refusals || 'it is running now'::text;
    ELSIF d.state = 'succeeded' THEN
      refusals := refusals || 'it has succeeded; `events replay` makes new work'::text;
    ELSIF d.state = 'blocked' THEN
      refusals := refusals || format('it waits for %s; retry that', (
        SELECT string_agg(n.value, ', ' ORDER BY n.place)
        FROM jsonb_array_elements_text(d.needs::jsonb) WITH ORDINALITY AS n(value, place)
      ));
    ELSIF holder IS NOT NULL THEN
      refusals := refusals || format('once_per: %s has done it', holder);
    ELSE
      UPDATE deliveries f SET state = CASE WHEN d.needs = '[]' THEN 'pending' ELSE 'blocked' END, held = false,
        due_at = now_at, attempts = 0, reason = NULL, finished_at = NULL
      WHERE f.seq = d.seq AND f.state = d.state;
      UPDATE deliveries f SET state = 'blocked', reason = NULL, finished_at = NULL
      WHERE f.event_seq = d.event_seq AND f.run_id = d.run_id AND f.state = 'skipped' AND f.reason IN (
        format('needed action %s was skipped', d.action), format('needed action %s was cancelled', d.action)
      );
      IF d.needs <> '[]' THEN
        PERFORM release_dependents(now_at, ARRAY[d.event_seq], ARRAY[d.run_id]);
      END IF;
      refusals := refusals || NULL::text;
    END IF;
  END LOOP;
  RETURN refusals;
END
$$;


-- Ends deliveries for good. Returns for each null where done, else why not.
CREATE FUNCTION cancel_deliveries(given_now bigint, ids text[], why text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  refusals text[] := '{}';
  wanted text;
  d record;
BEGIN
  PERFORM lock_keys(ARRAY(
    SELECT unnest(ARRAY[f.order_key, f.once_key]) FROM deliveries f WHERE f.id = ANY (ids)
  ));
  FOREACH wanted IN ARRAY ids LOOP
    SELECT * INTO d FROM deliveries f WHERE f.id = wanted FOR UPDATE;
    IF d.seq IS NULL THEN
      refusals := refusals || 'there is no such delivery'::text;
    ELSIF d.state NOT IN ('blocked', 'pending', 'running', 'dead') THEN
      refusals := refusals || format('it is %s', d.state);
    ELSE
      UPDATE deliveries f SET state = 'cancelled', reason = why, finished_at = now_at, token = NULL, lease_until = NULL,
        held = false
      WHERE f.seq = d.seq AND f.state = d.state;
      PERFORM skip_dependents(now_at, d.event_seq, d.run_id, d.action, 'cancelled');
      PERFORM pass_turn(ARRAY[d.order_key], ARRAY[d.once_key], '{}');
      refusals := refusals || NULL::text;
    END IF;
  END LOOP;
  RETURN refusals;
END
$$;
