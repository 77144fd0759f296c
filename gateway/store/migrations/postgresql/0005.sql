-- Connections and their pauses, shared rates, purging, and what is remembered of what was purged.
--
-- Gateways of the schemas before go on beside: what they call is left as it was, or replaced under the same parameters.
--
-- Locks, as in 0001.sql; rows of `rates` come before all of them, in order of their names. A purge waits for no row:
-- what others hold stays for its next run.
--
-- What purging leaves of an event whose id is still remembered is its row without a body, under a negative number:
-- UNIQUE (id, account) goes on refusing duplicates at no cost to intake. Whoever asks for events asks for seq > 0, and
-- passes by the one kind that all of them have: no type, and the state `purged`.

CREATE SEQUENCE remembered_seq;

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
);

CREATE TABLE done_once (
  once_key text COLLATE "C" PRIMARY KEY,
  delivery_id text COLLATE "C" NOT NULL,
  done_at bigint NOT NULL
);
CREATE INDEX done_once_age ON done_once (done_at);

-- Purged rows are found and their room is used again long before a fifth of a large table is gone.
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
ALTER TABLE deliveries_finished SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
ALTER TABLE attempts SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);
ALTER TABLE rates SET (fillfactor = 50);


-- Changes how a connection stands where its version is still the given one. Returns its new row, or none.
CREATE FUNCTION change_connection(
  given_now bigint, of_name text, of_version bigint, new_state text, for_ms bigint, new_reason text,
  new_failures integer, new_pauses integer, new_failed_delivery text
) RETURNS SETOF connections LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
BEGIN
  IF of_version = 0 THEN
    RETURN QUERY INSERT INTO connections AS c
    VALUES (of_name, 1, new_state, now_at, now_at + for_ms, new_reason, new_failures, new_pauses, new_failed_delivery)
    ON CONFLICT (name) DO NOTHING RETURNING c.*;
  ELSE
    RETURN QUERY UPDATE connections c SET version = of_version + 1, state = new_state,
      since = CASE WHEN c.state = new_state THEN c.since ELSE now_at END, until = now_at + for_ms, reason = new_reason,
      failures = new_failures, pauses = new_pauses, failed_delivery = new_failed_delivery
    WHERE c.name = of_name AND c.version = of_version RETURNING c.*;
  END IF;
END
$$;


-- The id of another delivery that succeeded on a once_key, also where it is purged and only that is known; else null.
CREATE FUNCTION done_by(key text, but bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN  -- one statement: a purge moves the key from the one table to the other
  RETURN coalesce(
    (SELECT o.id FROM deliveries o WHERE o.once_key = key AND o.state = 'succeeded' AND o.seq <> but LIMIT 1),
    (SELECT p.delivery_id FROM done_once p WHERE p.once_key = key)
  );
END
$$;


-- Of pending deliveries, ends as skipped those on whose once_key another has succeeded. Under the buckets of their keys.
CREATE OR REPLACE FUNCTION skip_done_once(now_at bigint, seqs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  found record;
BEGIN
  FOR found IN
    WITH holder AS (
      SELECT d.seq, done_by(d.once_key, d.seq) AS id FROM deliveries d
      WHERE d.seq = ANY (seqs) AND d.state = 'pending' AND d.once_key IS NOT NULL
    ), ended AS (
      UPDATE deliveries d SET state = 'skipped', finished_at = now_at, reason = format('once_per: %s has done it', h.id)
      FROM holder h WHERE d.seq = h.seq AND d.state = 'pending' AND h.id IS NOT NULL
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


-- Commits events with their deliveries, of which those named as unjudged get their keys only when they run.
CREATE FUNCTION add_events(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_written_for text[],
  e_twin text[], e_body bytea[], d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  news boolean[];
BEGIN
  news := add_events(
    given_now, e_account, e_id, e_type, e_state, e_livemode, e_created, e_connected, e_object, e_version, e_source,
    e_written_for, e_twin, e_body, d_owner, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order,
    d_error
  );
  IF unjudged <> '{}' THEN
    UPDATE deliveries d SET judged = false WHERE d.id = ANY (unjudged) AND d.judged;
  END IF;
  RETURN news;
END
$$;


-- Makes new deliveries for a stored event. Returns whether there is such an event.
CREATE OR REPLACE FUNCTION replay_event(
  given_now bigint, of_account text, of_id text, d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  found_seq bigint;
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order, NULL));
  SELECT e.seq INTO found_seq FROM events e WHERE e.account = of_account AND e.id = of_id AND e.seq > 0 FOR UPDATE;
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


CREATE FUNCTION replay_event(
  given_now bigint, of_account text, of_id text, d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  is_found boolean;
BEGIN
  is_found := replay_event(
    given_now, of_account, of_id, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order, d_error
  );
  IF unjudged <> '{}' THEN
    UPDATE deliveries d SET judged = false WHERE d.id = ANY (unjudged) AND d.judged;
  END IF;
  RETURN is_found;
END
$$;


-- Locks the buckets of rates, which fill steadily and at first hold one. Returns what each holds now.
CREATE FUNCTION fill_rates(
  now_at bigint, rate_names text[], per_second double precision[], bursts double precision[]
) RETURNS double precision[] LANGUAGE plpgsql AS $$
BEGIN
  IF rate_names = '{}' THEN
    RETURN '{}';
  END IF;
  INSERT INTO rates (name, tokens, filled_at)
  SELECT g.name, 1, now_at FROM unnest(rate_names) AS g(name) ORDER BY g.name ON CONFLICT (name) DO NOTHING;
  PERFORM FROM rates r WHERE r.name = ANY (rate_names) ORDER BY r.name FOR UPDATE;
  UPDATE rates r SET filled_at = greatest(r.filled_at, now_at),
    tokens = least(g.burst, r.tokens + greatest(0, now_at - r.filled_at) / 1000.0 * g.per_second)
  FROM unnest(rate_names, per_second, bursts) AS g(name, per_second, burst) WHERE r.name = g.name;
  RETURN ARRAY(
    SELECT r.tokens FROM unnest(rate_names) WITH ORDINALITY AS g(name, place) JOIN rates r ON r.name = g.name
    ORDER BY g.place
  );
END
$$;


-- Takes one from the bucket of a rate for each delivery that was taken from its lanes.
CREATE FUNCTION empty_rates(
  taken bigint[], accounts text[], routes text[], actions text[], rate_of integer[], rate_names text[]
) RETURNS void LANGUAGE sql AS $$
  UPDATE rates r SET tokens = r.tokens - used.count
  FROM (
    SELECT rate_names[l.rate] AS name, count(*) AS count FROM deliveries d
    JOIN unnest(accounts, routes, actions, rate_of) AS l(account, route, action, rate)
      ON (l.account, l.route, l.action) = (d.account, d.route, d.action)
    WHERE d.seq = ANY (taken) AND d.state = 'running' AND l.rate IS NOT NULL
    GROUP BY 1
  ) used
  WHERE r.name = used.name
$$;


-- Takes due deliveries of each lane under a lease, of the lanes of a rate together no more than its bucket holds. Returns
-- their numbers, lane by lane. `rate_of` is the place (1, 2, ...) of a lane's rate among the rates, or null.
CREATE FUNCTION claim_at_rates(
  given_now bigint, lease_ms bigint, new_token text, accounts text[], routes text[], actions text[], limits integer[],
  rate_of integer[], rate_names text[], per_second double precision[], bursts double precision[]
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
  bucket integer;
  held double precision[];  -- what the buckets of the rates hold
BEGIN
  held := fill_rates(now_at, rate_names, per_second, bursts);
  FOR lane IN 1 .. cardinality(limits) LOOP
    bucket := rate_of[lane];
    IF bucket IS NOT NULL THEN
      limits[lane] := least(limits[lane], floor(held[bucket])::integer);
    END IF;
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
    IF bucket IS NOT NULL THEN
      held[bucket] := held[bucket] - seen.plain - cardinality(seen.keyed);
    END IF;
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
  IF rate_names <> '{}' THEN
    PERFORM empty_rates(taken, accounts, routes, actions, rate_of, rate_names);
  END IF;
  RETURN taken;
END
$$;


-- One step of a purge: of the next events after `place`, removes those that are old and done, with their deliveries and
-- attempts; after the last, forgets ids and once keys that are remembered no longer. Returns how many events, deliveries
-- and attempts went, and where to go on; null: nowhere.
CREATE FUNCTION purge_events(
  given_now bigint, place bigint, most integer, kept_ms bigint, dead_kept_ms bigint, remembered_ms bigint
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  ended bigint := now_at - kept_ms;
  dead bigint := now_at - dead_kept_ms;
  remembered bigint := now_at - remembered_ms;
  old bigint[];
  locked bigint[];
  theirs bigint[];
  gone bigint[];
  gone_deliveries bigint;
  gone_attempts bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(1734440825, 67);  -- gateways purge one step after another
  SELECT array_agg(n.seq ORDER BY n.seq) INTO old FROM (
    SELECT e.seq, bool_and(e.received_at < ended) OVER (ORDER BY e.seq) AS is_old FROM (
      SELECT f.seq, f.received_at FROM events f WHERE f.seq > place AND f.seq > 0 ORDER BY f.seq LIMIT most
    ) e
  ) n WHERE n.is_old;
  IF old IS NULL THEN
    RETURN ARRAY[0, 0, 0, CASE WHEN forget(most, remembered) THEN place END];
  END IF;
  -- Locked first and looked at then: whoever revives a delivery or makes new ones holds one of these rows.
  locked := ARRAY(SELECT e.seq FROM events e WHERE e.seq = ANY (old) FOR UPDATE SKIP LOCKED);
  theirs := ARRAY(SELECT d.seq FROM deliveries d WHERE d.event_seq = ANY (locked) FOR UPDATE SKIP LOCKED);
  gone := ARRAY(
    SELECT e.seq FROM events e WHERE e.seq = ANY (locked) AND NOT EXISTS (
      SELECT FROM deliveries d WHERE d.event_seq = e.seq AND (d.seq <> ALL (theirs) OR CASE
        WHEN d.state IN ('pending', 'running') THEN true
        WHEN d.state = 'blocked' THEN dead IS NULL
        WHEN d.state = 'dead' THEN dead IS NULL OR d.finished_at >= dead
        ELSE d.finished_at >= ended END)
    )
  );
  WITH going AS MATERIALIZED (  -- by event: never through the whole of deliveries_once_done, which is in order of keys
    SELECT d.once_key, d.id, d.finished_at, d.state FROM deliveries d WHERE d.event_seq = ANY (gone)
  )
  INSERT INTO done_once (once_key, delivery_id, done_at)
  SELECT DISTINCT ON (g.once_key) g.once_key, g.id, g.finished_at FROM going g
  WHERE g.state = 'succeeded' AND g.once_key IS NOT NULL AND g.finished_at > remembered
  ORDER BY g.once_key, g.finished_at DESC
  ON CONFLICT (once_key) DO UPDATE SET delivery_id = excluded.delivery_id, done_at = excluded.done_at;
  DELETE FROM attempts a WHERE a.delivery_seq = ANY (ARRAY(
    SELECT d.seq FROM deliveries d WHERE d.event_seq = ANY (gone)
  ));
  GET DIAGNOSTICS gone_attempts = ROW_COUNT;
  DELETE FROM deliveries d WHERE d.event_seq = ANY (gone);
  GET DIAGNOSTICS gone_deliveries = ROW_COUNT;
  DELETE FROM events e WHERE e.seq = ANY (gone) AND e.received_at <= remembered;
  UPDATE events e SET seq = -nextval('remembered_seq'), type = '', state = 'purged', body = '', object_id = NULL
  WHERE e.seq = ANY (gone);
  RETURN ARRAY[cardinality(gone), gone_deliveries, gone_attempts, old[cardinality(old)]];
END
$$;


-- Forgets ids and once keys that are remembered no longer. Returns whether there may be more.
CREATE FUNCTION forget(most integer, remembered bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  ids bigint;
  keys bigint;
BEGIN
  DELETE FROM events e WHERE e.seq = ANY (ARRAY(
    SELECT n.seq FROM (
      SELECT o.seq, bool_and(o.received_at <= remembered) OVER (ORDER BY o.seq DESC) AS is_old FROM (
        SELECT f.seq, f.received_at FROM events f WHERE f.seq < 0 ORDER BY f.seq DESC LIMIT most
      ) o
    ) n WHERE n.is_old
  ));
  GET DIAGNOSTICS ids = ROW_COUNT;
  DELETE FROM done_once p WHERE p.once_key = ANY (ARRAY(
    SELECT o.once_key FROM done_once o WHERE o.done_at <= remembered ORDER BY o.done_at LIMIT most
  ));
  GET DIAGNOSTICS keys = ROW_COUNT;
  RETURN ids = most OR keys = most;
END
$$;
