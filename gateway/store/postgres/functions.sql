-- The functions that change the inbox on PostgreSQL, each in its only form: run after the tables were made or changed, and
-- so also by every upgrade. Times are integer milliseconds since 1970, UTC.
--
-- Each function is called by one statement that is a transaction of its own: no lock is ever held while a gateway
-- thinks, so that one which is paused or gone holds nobody up.
--
-- Locks, always taken in this order: (1) rows of `rates`, by their names, (2) the one for claims of keyed deliveries,
-- (3) the buckets of keys, ascending, (4) rows, those of `marks` last. Whatever decides or changes a turn holds the
-- buckets of the keys concerned. A purge waits for no row: what others hold stays for its next run.
--
-- `held` true: another goes first. It is set only while that is so, under the buckets of both keys, and whoever ends
-- clears it on the next in turn. `held` false is no more than a hint: a claim checks it under the buckets.
--
-- Gateways of the version before go on beside while a new one is rolled out: what they call keeps its parameters (see
-- gateway/store/migrations/runner.py).


-- == Parts that the others share ==


-- Now in milliseconds; tests give a time of their own.
CREATE OR REPLACE FUNCTION now_ms(given bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(given, (extract(epoch FROM statement_timestamp()) * 1000)::bigint)
$$;


-- Whether a time is further ahead than gateways differ: a clock was wrong, and the time is taken for now. Otherwise all
-- that is counted from it would wait for the clock to catch up.
CREATE OR REPLACE FUNCTION is_ahead(at bigint, now_at bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT at > now_at + 60000
$$;


-- Locks the buckets of keys until the transaction ends: at most 64, so that the server's table of locks, which has room
-- for 64 a connection, cannot fill up.
CREATE OR REPLACE FUNCTION lock_keys(keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  bucket integer;
BEGIN
  FOR bucket IN SELECT DISTINCT hashtext(key) & 63 AS place FROM unnest(keys) AS key WHERE key IS NOT NULL ORDER BY place
  LOOP
    PERFORM pg_advisory_xact_lock(1734440825, bucket);
  END LOOP;
END
$$;


-- Of pending deliveries, holds those whose turn it is not. Returns the newly held. Under the buckets of their keys.
CREATE OR REPLACE FUNCTION hold_in_turn(seqs bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
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
CREATE OR REPLACE FUNCTION pass_turn(order_keys text[], once_keys text[], but bigint[]) RETURNS void LANGUAGE plpgsql AS $$
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


-- Whether a delivery was skipped because nothing was to be sent: gateway.core.model.DRY_RUN.
CREATE OR REPLACE FUNCTION was_dry(state text, reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT state = 'skipped' AND starts_with(coalesce(reason, ''), 'dry run: ')
$$;


-- Whether a delivery is to begin skipped for this reason: gateway.core.model.DISABLED.
CREATE OR REPLACE FUNCTION is_disabled(reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT starts_with(coalesce(reason, ''), 'disabled: ')
$$;


-- The names of what is needed: of a list, or the keys of an object, in its order.
CREATE OR REPLACE FUNCTION needs_of(needs text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(needs, '{') THEN to_jsonb(ARRAY(SELECT json_object_keys(needs::json))) ELSE needs::jsonb END
$$;


-- How one that is needed has to end: of a list, well.
CREATE OR REPLACE FUNCTION need_of(needs text, action text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN starts_with(needs, '{') THEN needs::jsonb ->> action ELSE 'succeeded' END
$$;


-- Whether a need is met by where another stands; null: not yet, and it may be. gateway.core.model.needs.is_met.
CREATE OR REPLACE FUNCTION is_met(need text, state text, reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN state IN ('blocked', 'pending', 'running') THEN NULL
    WHEN state = 'skipped' AND (starts_with(reason, 'digest: ') OR starts_with(reason, 'debounce: ')) THEN false
    WHEN need = 'any' THEN true
    WHEN need = 'dead' THEN state IN ('dead', 'expired')
    WHEN state = 'dead' THEN NULL
    ELSE need = CASE WHEN was_dry(state, reason) THEN 'succeeded' ELSE state END
  END
$$;


-- Of the blocked deliveries of runs, makes pending those that wait for nothing more. It locks the blocked ones before it
-- looks, so that of two that finish at once the later sees what the earlier did. Where `ended` names for each run an action
-- that has ended, first skips those that needed another end of it, and then what needs these.
CREATE OR REPLACE FUNCTION settle_dependents(now_at bigint, event_seqs bigint[], run_ids text[], ended text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  waiting bigint[];
  roots text[];  -- why, where that is known
BEGIN
  waiting := ARRAY(
    SELECT b.seq FROM deliveries b
    WHERE b.event_seq = ANY (event_seqs) AND b.state = 'blocked' AND b.run_id = ANY (run_ids) ORDER BY b.seq FOR UPDATE
  );
  IF waiting = '{}' THEN
    RETURN;
  END IF;
  WHILE ended IS NOT NULL LOOP
    WITH lost AS (
      SELECT DISTINCT ON (b.seq) b.seq, coalesce(
        e.root, format(CASE s.state WHEN 'succeeded' THEN 'needed action %s %s' ELSE 'needed action %s was %s' END,
          s.action, s.state)
      ) AS why
      FROM unnest(event_seqs, run_ids, ended, coalesce(roots, '{}')) WITH ORDINALITY AS e(event_seq, run_id, action, root, place)
      JOIN deliveries s ON s.event_seq = e.event_seq AND s.run_id = e.run_id AND s.action = e.action
      JOIN deliveries b ON b.event_seq = e.event_seq AND b.run_id = e.run_id AND b.state = 'blocked'
        AND b.needs::jsonb ? e.action
      WHERE b.seq = ANY (waiting) AND is_met(need_of(b.needs, s.action), s.state, s.reason) IS FALSE
      ORDER BY b.seq, e.place
    ), skipped AS (
      UPDATE deliveries b SET state = 'skipped', reason = l.why, finished_at = now_at
      FROM lost l WHERE b.seq = l.seq AND b.state = 'blocked'
      RETURNING b.seq, b.event_seq, b.run_id, b.action, b.reason
    )
    SELECT array_agg(g.event_seq ORDER BY g.seq), array_agg(g.run_id ORDER BY g.seq), array_agg(g.action ORDER BY g.seq),
      array_agg(g.reason ORDER BY g.seq)
    INTO event_seqs, run_ids, ended, roots FROM skipped g;
  END LOOP;
  UPDATE deliveries b SET state = 'pending', due_at = greatest(now_at, b.waits_until), held = false
  WHERE b.seq = ANY (waiting) AND b.state = 'blocked' AND NOT EXISTS (
    SELECT FROM jsonb_array_elements_text(needs_of(b.needs)) AS need WHERE NOT EXISTS (
      SELECT FROM deliveries s WHERE s.event_seq = b.event_seq AND s.run_id = b.run_id AND s.action = need.value
      AND is_met(need_of(b.needs, s.action), s.state, s.reason)
      AND NOT (s.state = 'dead' AND s.runs = 0)  -- it never ran, since routing failed: it has not begun
    )
  );
END
$$;


-- Blocks again what was skipped only because `again` was skipped, cancelled, expired or a dry run.
CREATE OR REPLACE FUNCTION revive_dependents(of_event bigint, of_run text, again text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH RECURSIVE dry AS (
    SELECT again COLLATE "C" AS action
    UNION
    SELECT s.action FROM deliveries s JOIN dry ON s.needs::jsonb ? dry.action
    WHERE s.event_seq = of_event AND s.run_id = of_run AND was_dry(s.state, s.reason)
  )
  UPDATE deliveries f SET state = 'blocked', attempts = 0, reason = NULL, finished_at = NULL
  WHERE f.event_seq = of_event AND f.run_id = of_run AND f.state = 'skipped' AND (
    f.reason IN (
      format('needed action %s was skipped', again), format('needed action %s was cancelled', again),
      format('needed action %s was expired', again)
    )
    OR was_dry(f.state, f.reason) AND f.action IN (SELECT r.action FROM dry r)
  );
END
$$;


-- The id of another delivery that succeeded on a once_key, also where it is purged and only that is known; else null.
CREATE OR REPLACE FUNCTION done_by(key text, but bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$
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
  skipped record;
BEGIN
  FOR skipped IN
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
    IF skipped.has_dependents THEN
      PERFORM settle_dependents(now_at, ARRAY[skipped.event_seq], ARRAY[skipped.run_id], ARRAY[skipped.action]);
    END IF;
    PERFORM pass_turn(ARRAY[skipped.order_key], ARRAY[skipped.once_key], '{}');
  END LOOP;
END
$$;


-- Deliveries that are not claimed, and whose `until` names an event that happened after their own: that has a later
-- `created`, or in the same second came later.
CREATE OR REPLACE FUNCTION overtaken() RETURNS TABLE (seq bigint, until_key text, why text) LANGUAGE sql STABLE AS $$
  SELECT d.seq, d.until_key, format('until: %s (%s) came first', u.event_id, u.event_type)
  FROM deliveries d JOIN until_events u ON u.until_key = d.until_key JOIN events e ON e.seq = d.event_seq
  WHERE d.state IN ('blocked', 'pending') AND (u.happened_at, u.event_seq) > (coalesce(e.created_at, e.received_at), e.seq)
$$;


-- Of these deliveries, cancels those that are overtaken. Returns them. Under the buckets of their keys.
CREATE OR REPLACE FUNCTION end_overtaken(now_at bigint, seqs bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
  gone record;
BEGIN
  WITH ended AS (
    UPDATE deliveries d SET state = 'cancelled', held = false, finished_at = now_at, waits_until = NULL, reason = o.why
    FROM overtaken() o
    WHERE o.seq = ANY (seqs) AND d.seq = o.seq AND d.state IN ('blocked', 'pending')
    RETURNING d.seq, d.event_seq, d.run_id, d.action, d.has_dependents, d.order_key, d.once_key
  )
  SELECT array_agg(g.seq) AS seqs, array_agg(g.order_key) AS orders, array_agg(g.once_key) AS onces,
    array_agg(g.event_seq ORDER BY g.seq) FILTER (WHERE g.has_dependents) AS events,
    array_agg(g.run_id ORDER BY g.seq) FILTER (WHERE g.has_dependents) AS runs,
    array_agg(g.action ORDER BY g.seq) FILTER (WHERE g.has_dependents) AS actions
  INTO gone FROM ended g;
  IF gone.seqs IS NULL THEN
    RETURN '{}';
  END IF;
  IF gone.events IS NOT NULL THEN
    PERFORM settle_dependents(now_at, gone.events, gone.runs, gone.actions);
  END IF;
  PERFORM pass_turn(array_remove(gone.orders, NULL), array_remove(gone.onces, NULL), '{}');
  RETURN gone.seqs;
END
$$;


-- Cancels what is overtaken by events of these keys, as much as a step takes. What is left is noted for end_left, and
-- whoever claims it meanwhile, or revives it, finds it overtaken. Under the buckets of these keys.
CREATE OR REPLACE FUNCTION end_waiting(now_at bigint, keys text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  most CONSTANT integer := 256;
  passed bigint[] := ARRAY(SELECT o.seq FROM overtaken() o WHERE o.until_key = ANY (keys) LIMIT most);
BEGIN
  IF passed <> '{}' THEN
    PERFORM lock_keys(ARRAY(
      SELECT unnest(ARRAY[d.order_key, d.once_key]) FROM deliveries d
      WHERE d.seq = ANY (passed) AND d.state IN ('blocked', 'pending')
    ));
    PERFORM end_overtaken(now_at, passed);
  END IF;
  IF cardinality(passed) = most THEN
    INSERT INTO notes (name, value, kept_at) SELECT 'until:' || g.key, '{}', now_at FROM unnest(keys) AS g(key)
    ON CONFLICT (name) DO NOTHING;
  ELSE
    DELETE FROM notes n WHERE n.name = ANY (ARRAY(SELECT 'until:' || g.key FROM unnest(keys) AS g(key)));
  END IF;
END
$$;


-- Sets what deliveries that were just made wait for, where `until` may be null, as may `untils`.
CREATE OR REPLACE FUNCTION plan_waits(w_id text[], w_at bigint[], w_reason text[], w_until text[]) RETURNS void
LANGUAGE sql AS $$
  UPDATE deliveries d SET due_at = greatest(d.due_at, g.at), waits_until = g.at, until_key = g.until,
    reason = coalesce(g.reason, d.reason)
  FROM unnest(w_id, w_at, w_reason, w_until) AS g(id, at, reason, until)
  WHERE d.id = g.id AND d.state IN ('blocked', 'pending')
$$;


-- The keys of `until` and, of what a step of end_waiting may cancel, those that order it: what is locked at once.
CREATE OR REPLACE FUNCTION keys_to_end(untils text[]) RETURNS text[] LANGUAGE sql AS $$
  SELECT untils || ARRAY(
    SELECT unnest(ARRAY[d.order_key, d.once_key]) FROM (
      SELECT w.order_key, w.once_key FROM deliveries w
      WHERE w.until_key = ANY (untils) AND w.state IN ('blocked', 'pending') LIMIT 256
    ) d
  )
$$;


-- A step of what end_waiting has left of a key. Returns whether more is left; null where another gateway takes steps.
CREATE OR REPLACE FUNCTION end_left(given_now bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  noted text;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1734440825, 69) THEN
    RETURN NULL;
  END IF;
  SELECT substr(n.name, 7) INTO noted FROM notes n WHERE n.name > 'until:' AND n.name < 'until;' ORDER BY n.name LIMIT 1;
  IF noted IS NULL THEN
    RETURN false;
  END IF;
  PERFORM lock_keys(array_remove(keys_to_end(ARRAY[noted]), NULL));
  PERFORM end_waiting(now_ms(given_now), ARRAY[noted]);
  RETURN EXISTS (SELECT FROM notes n WHERE n.name > 'until:' AND n.name < 'until;');
END
$$;


-- Inserts planned deliveries, given column by column; `errors` are why they begin dead, or skipped; `owner` is the place (1, 2, ...) in `event_seqs`, whose null ones
-- are left out. Under the buckets of their keys, so that numbers of one key are in the order of their commits.
CREATE OR REPLACE FUNCTION insert_deliveries(
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
    CASE WHEN is_disabled(g.error) THEN 'skipped' WHEN g.error IS NOT NULL THEN 'dead' WHEN g.needs <> '[]' THEN 'blocked' ELSE 'pending' END,
    now_at, now_at, CASE WHEN g.error IS NOT NULL THEN now_at END, g.error IS NULL OR is_disabled(g.error),
    g.once_key, g.order_key, g.error
  FROM unnest(owner, ids, run_ids, routes, actions, all_needs, with_dependents, once_keys, order_keys, errors)
    WITH ORDINALITY AS g(own, id, run_id, route, action, needs, dependents, once_key, order_key, error, place)
  WHERE event_seqs[g.own] IS NOT NULL;
  IF array_remove(once_keys || order_keys, NULL) <> '{}' THEN
    PERFORM hold_in_turn(seqs);
  END IF;
END
$$;


-- == Intake ==


-- Commits events with their deliveries, of which those named as unjudged get their keys only when they run. Returns for
-- each event whether it was new.
CREATE OR REPLACE FUNCTION add_events(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_written_for text[],
  e_twin text[], e_body bytea[], d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[],
  e_trace text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  seqs bigint[];
  fresh bigint[];
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order, NULL));
  seqs := ARRAY(SELECT nextval('events_seq') FROM generate_series(1, cardinality(e_id)));
  WITH arrivals AS (
    SELECT * FROM unnest(
      seqs, e_account, e_id, e_type, e_state, e_livemode, e_created, e_connected, e_object, e_version, e_source,
      e_written_for, e_twin, e_body, e_trace
    ) AS g(
      seq, account, id, type, state, livemode, created_at, connected, object, version, source, written_for, twin, body,
      trace
    )
  ), stored AS (
    INSERT INTO events (
      seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version,
      source, written_for, twin, body, trace
    )
    SELECT g.seq, g.account, g.id, g.type, g.state, g.livemode, now_at, g.created_at, g.connected, g.object, g.version,
      g.source, g.written_for, g.twin, g.body, g.trace
    FROM arrivals g
    ORDER BY g.account, coalesce(g.twin, g.id), g.seq  -- everybody waits for another's insert in the same order
    ON CONFLICT DO NOTHING
    RETURNING events.seq
  )
  SELECT array_agg(stored.seq ORDER BY g.seq) INTO fresh
  FROM unnest(seqs) AS g(seq) LEFT JOIN stored ON stored.seq = g.seq;
  IF cardinality(d_id) > 0 THEN
    PERFORM insert_deliveries(
      now_at, fresh, e_account, d_owner, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order, d_error
    );
  END IF;
  IF unjudged <> '{}' THEN
    UPDATE deliveries d SET judged = false WHERE d.id = ANY (unjudged) AND d.judged;
  END IF;
  RETURN ARRAY(SELECT f.seq IS NOT NULL FROM unnest(fresh) WITH ORDINALITY AS f(seq, place) ORDER BY f.place);
END
$$;


-- As add_events, where deliveries wait or events cancel some: `c_owner` is the place (1, 2, ...) of the event that cancels
-- what waits by `c_until`.
CREATE OR REPLACE FUNCTION add_events_later(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_written_for text[],
  e_twin text[], e_body bytea[], d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[],
  e_trace text[], w_id text[], w_at bigint[], w_reason text[], w_until text[], c_owner integer[], c_until text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  news boolean[];
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order || keys_to_end(array_remove(w_until || c_until, NULL)), NULL));
  news := add_events(
    given_now, e_account, e_id, e_type, e_state, e_livemode, e_created, e_connected, e_object, e_version, e_source,
    e_written_for, e_twin, e_body, d_owner, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order,
    d_error, unjudged, e_trace
  );
  PERFORM plan_waits(w_id, w_at, w_reason, w_until);
  INSERT INTO until_events AS k (until_key, event_seq, event_id, event_type, happened_at, seen_at)
  SELECT DISTINCT ON (g.until) g.until, e.seq, e.id, e.type, coalesce(e.created_at, e.received_at), now_at
  FROM unnest(c_owner, c_until) AS g(own, until)
  JOIN events e ON e.account = e_account[g.own] AND e.id = e_id[g.own] AND e.seq > 0
  WHERE news[g.own]
  ORDER BY g.until, coalesce(e.created_at, e.received_at) DESC, e.seq DESC
  ON CONFLICT (until_key) DO UPDATE SET event_seq = excluded.event_seq, event_id = excluded.event_id,
    event_type = excluded.event_type, happened_at = excluded.happened_at, seen_at = excluded.seen_at
  WHERE (excluded.happened_at, excluded.event_seq) > (k.happened_at, k.event_seq);
  PERFORM end_waiting(now_at, ARRAY(
    SELECT g.until FROM unnest(c_owner, c_until) AS g(own, until) WHERE news[g.own]
    UNION SELECT d.until_key FROM deliveries d WHERE d.id = ANY (w_id) AND d.until_key IS NOT NULL
  ));
  RETURN news;
END
$$;


-- Makes new deliveries for a stored event. Returns whether there is such an event.
CREATE OR REPLACE FUNCTION replay_event(
  given_now bigint, of_account text, of_id text, d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  of_seq bigint;
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order, NULL));
  SELECT e.seq INTO of_seq FROM events e WHERE e.account = of_account AND e.id = of_id AND e.seq > 0 FOR UPDATE;
  IF of_seq IS NULL THEN
    RETURN false;
  END IF;
  IF cardinality(d_id) > 0 THEN
    UPDATE events SET state = 'routed' WHERE seq = of_seq AND state <> 'routed';
    PERFORM insert_deliveries(
      now_ms(given_now), ARRAY[of_seq], ARRAY[of_account], array_fill(1, ARRAY[cardinality(d_id)]), d_id, d_run,
      d_route, d_action, d_needs, d_dependents, d_once, d_order, d_error
    );
    IF unjudged <> '{}' THEN
      UPDATE deliveries d SET judged = false WHERE d.id = ANY (unjudged) AND d.judged;
    END IF;
  END IF;
  RETURN true;
END
$$;


-- As replay_event, where deliveries wait.
CREATE OR REPLACE FUNCTION replay_event_later(
  given_now bigint, of_account text, of_id text, d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[],
  w_id text[], w_at bigint[], w_reason text[], w_until text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  untils text[] := array_remove(w_until, NULL);
  is_there boolean;
BEGIN
  PERFORM lock_keys(array_remove(d_once || d_order || keys_to_end(untils), NULL));
  is_there := replay_event(
    given_now, of_account, of_id, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order, d_error,
    unjudged
  );
  PERFORM plan_waits(w_id, w_at, w_reason, w_until);
  PERFORM end_waiting(now_ms(given_now), untils);
  RETURN is_there;
END
$$;


-- Keeps them in this order, then drops what is over the bounds; how many. One gateway at a time, so that the bounds hold.
CREATE OR REPLACE FUNCTION keep_rejected(
  given_now bigint, most_requests bigint, most_bytes bigint, age_ms bigint, r_id text[], r_received bigint[],
  r_account text[], r_reason text[], r_address text[], r_peer text[], r_forwarded text[], r_signature text[],
  r_size bigint[], r_body bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  aged bigint;
  over bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(1734440825, 68);
  INSERT INTO rejected
    (id, received_at, account, reason, address, peer, forwarded_for, signature, size, body)
  SELECT r.id, r.received, r.account, r.reason, r.address, r.peer, r.forwarded, r.signature, r.size, r.body
  FROM unnest(r_id, r_received, r_account, r_reason, r_address, r_peer, r_forwarded, r_signature, r_size, r_body)
    WITH ORDINALITY AS r(id, received, account, reason, address, peer, forwarded, signature, size, body, place)
  ORDER BY r.place;

  DELETE FROM rejected WHERE received_at < now_ms(given_now) - age_ms;
  GET DIAGNOSTICS aged = ROW_COUNT;

  -- `share` is what an address takes with a request and its newer ones, of the number or of the bytes, whichever is more.
  -- Those with the smallest shares stay, as many as the bounds allow.
  WITH shared AS (
    SELECT seq, size, sum(greatest(size * most_requests, most_bytes)) OVER (PARTITION BY address ORDER BY seq DESC) AS share
    FROM rejected
  ), placed AS (
    SELECT seq, row_number() OVER place AS requests, sum(size) OVER place AS total FROM shared
    WINDOW place AS (ORDER BY share, seq DESC)
  )
  DELETE FROM rejected WHERE seq IN (SELECT seq FROM placed WHERE requests > most_requests OR total > most_bytes);
  GET DIAGNOSTICS over = ROW_COUNT;
  RETURN aged + over;
END
$$;


-- == Delivery ==


-- Locks the buckets of rates, which fill steadily and at first hold one. Returns what each holds now.
CREATE OR REPLACE FUNCTION fill_rates(
  now_at bigint, rate_names text[], per_second double precision[], bursts double precision[]
) RETURNS double precision[] LANGUAGE plpgsql AS $$
BEGIN
  IF rate_names = '{}' THEN
    RETURN '{}';
  END IF;
  INSERT INTO rates (name, tokens, filled_at)
  SELECT g.name, 1, now_at FROM unnest(rate_names) AS g(name) ORDER BY g.name ON CONFLICT (name) DO NOTHING;
  PERFORM FROM rates r WHERE r.name = ANY (rate_names) ORDER BY r.name FOR UPDATE;
  UPDATE rates r SET
    -- Of two that claim at once, the later may have the earlier time; no statement takes longer than five seconds.
    filled_at = CASE WHEN r.filled_at > now_at + 5000 THEN now_at ELSE greatest(r.filled_at, now_at) END,
    tokens = least(g.burst, r.tokens + greatest(0, now_at - r.filled_at) / 1000.0 * g.per_second)
  FROM unnest(rate_names, per_second, bursts) AS g(name, per_second, burst) WHERE r.name = g.name;
  RETURN ARRAY(
    SELECT r.tokens FROM unnest(rate_names) WITH ORDINALITY AS g(name, place) JOIN rates r ON r.name = g.name
    ORDER BY g.place
  );
END
$$;


-- Takes one from the bucket of a rate for each delivery that was taken from its lanes.
CREATE OR REPLACE FUNCTION empty_rates(
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
CREATE OR REPLACE FUNCTION claim_at_rates(
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
  with_keys integer := 0;  -- how many of `taken` have keys: the first ones
  passed bigint[];  -- what events have overtaken, and is to be cancelled
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
    with_keys := cardinality(taken);
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
  passed := ARRAY(
    SELECT d.seq FROM deliveries d WHERE d.seq = ANY (taken) AND d.state = 'pending' AND d.until_key IS NOT NULL
  );
  IF passed <> '{}' THEN
    passed := end_overtaken(now_at, passed);
    with_keys := cardinality(ARRAY(SELECT unnest(taken[:with_keys]) EXCEPT SELECT unnest(passed)));
    taken := ARRAY(
      SELECT t.seq FROM unnest(taken) WITH ORDINALITY AS t(seq, place) WHERE t.seq <> ALL (passed) ORDER BY t.place
    );
  END IF;
  UPDATE deliveries d SET state = 'running', token = new_token, lease_until = now_at + lease_ms, claimed_at = now_at,
    waits_until = NULL, attempts = d.attempts + 1, runs = d.runs + 1
  WHERE d.seq = ANY (taken) AND d.state = 'pending';
  IF with_keys > 0 AND cardinality(taken) > with_keys THEN
    taken := ARRAY(
      SELECT d.seq FROM deliveries d
      JOIN unnest(accounts, routes, actions) WITH ORDINALITY AS l(account, route, action, place)
        ON (l.account, l.route, l.action) = (d.account, d.route, d.action)
      WHERE d.seq = ANY (taken) AND d.state = 'running'
      ORDER BY l.place, d.due_at, d.seq
    );
  END IF;
  IF rate_names <> '{}' THEN
    PERFORM empty_rates(taken, accounts, routes, actions, rate_of, rate_names);
  END IF;
  RETURN taken;
END
$$;


-- Extends leases. Returns the ids of those that were lost.
CREATE OR REPLACE FUNCTION renew_leases(given_now bigint, lease_ms bigint, ids text[], tokens text[]) RETURNS text[]
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
-- the end whether this may have made work for others. A `wait` of null keeps the due time. A reason that begins
-- with gateway.core.model.WAITS makes it wait by the calendar. Of one that is handed back, `f_once` is its key of `until`.
CREATE OR REPLACE FUNCTION finish_claims(
  given_now bigint, f_id text[], f_token text[], f_state text[], f_wait bigint[], f_reason text[], f_rendered text[],
  f_output text[], a_outcome text[], a_started bigint[], a_duration bigint[], a_error text[], f_rekeyed boolean[],
  f_once text[], f_order text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  orders text[];
  onces text[];
  untils text[];
  passed bigint[];
  places bigint[];
  ended_events bigint[];
  ended_runs text[];
  ended_actions text[];
BEGIN
  SELECT array_agg(d.order_key) FILTER (WHERE d.order_key IS NOT NULL),
    array_agg(d.once_key) FILTER (WHERE d.once_key IS NOT NULL),
    array_agg(d.until_key) FILTER (WHERE d.until_key IS NOT NULL)
  INTO orders, onces, untils FROM deliveries d WHERE d.id = ANY (f_id) AND d.state = 'running';
  orders := orders || array_remove(f_order, NULL);
  onces := onces || array_remove(f_once, NULL);
  PERFORM lock_keys(orders || onces || untils);  -- a new key of `until` is among those of f_once
  WITH ends AS (
    SELECT * FROM unnest(
      f_id, f_token, f_state, f_wait, f_reason, f_rendered, f_output, a_outcome, a_started, a_duration, a_error,
      f_rekeyed, f_once, f_order
    ) WITH ORDINALITY AS g(
      id, token, state, wait, reason, rendered, output, outcome, started, duration, error, rekeyed, once, ordering, place
    )
  ), ended AS (
    UPDATE deliveries d SET state = g.state, token = NULL, lease_until = NULL, held = false,
      claimed_at = CASE WHEN g.state = 'pending' THEN d.claimed_at END,  -- what has ended takes less without it
      due_at = coalesce(now_at + g.wait, d.due_at),
      finished_at = CASE WHEN g.state <> 'pending' THEN now_at END, reason = g.reason,
      last_error = coalesce(g.error, d.last_error), rendered = coalesce(g.rendered, d.rendered),
      output = coalesce(g.output, d.output),
      attempts = d.attempts - (g.outcome IS NULL OR g.outcome = 'interrupted')::integer, runs = d.runs - (g.outcome IS NULL)::integer,
      judged = d.judged OR g.rekeyed,
      waits_until = CASE WHEN g.state = 'pending' AND starts_with(g.reason, 'waits until ') THEN now_at + g.wait END,
      until_key = CASE WHEN g.rekeyed THEN d.until_key ELSE coalesce(g.once, d.until_key) END,
      once_key = CASE WHEN g.rekeyed THEN g.once ELSE d.once_key END,
      order_key = CASE WHEN g.rekeyed THEN g.ordering ELSE d.order_key END
    FROM ends g WHERE d.id = g.id AND d.token = g.token AND d.state = 'running'
    RETURNING g.place, d.seq, d.runs, d.event_seq, d.run_id, d.action, d.state, d.has_dependents,
      g.outcome, g.started, g.duration, g.error
  ), recorded AS (
    INSERT INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)
    SELECT e.seq, e.runs, e.started, e.duration, e.outcome, e.error FROM ended e WHERE e.outcome IS NOT NULL
    ON CONFLICT DO NOTHING
  )
  SELECT array_agg(e.place),
    array_agg(e.event_seq ORDER BY e.place) FILTER (WHERE e.has_dependents AND e.state <> 'pending'),
    array_agg(e.run_id ORDER BY e.place) FILTER (WHERE e.has_dependents AND e.state <> 'pending'),
    array_agg(e.action ORDER BY e.place) FILTER (WHERE e.has_dependents AND e.state <> 'pending')
  INTO places, ended_events, ended_runs, ended_actions FROM ended e;
  IF ended_events IS NOT NULL THEN
    PERFORM settle_dependents(now_at, ended_events, ended_runs, ended_actions);
  END IF;
  IF orders <> '{}' OR onces <> '{}' THEN
    PERFORM pass_turn(orders, onces, '{}');
  END IF;
  passed := ARRAY(
    SELECT d.seq FROM deliveries d WHERE d.id = ANY (f_id) AND d.state = 'pending' AND d.until_key IS NOT NULL
  );
  IF passed <> '{}' THEN
    PERFORM end_overtaken(now_at, passed);
  END IF;
  RETURN ARRAY(SELECT coalesce(p.place = ANY (places), false) FROM generate_series(1, cardinality(f_id)) AS p(place))
    || (ended_events IS NOT NULL OR orders <> '{}' OR onces <> '{}' OR 'pending' = ANY (f_state));
END
$$;


-- The same where attempts leave what they sent and got; null for those that do not.
CREATE OR REPLACE FUNCTION finish_claims_told(
  given_now bigint, f_id text[], f_token text[], f_state text[], f_wait bigint[], f_reason text[], f_rendered text[],
  f_output text[], a_outcome text[], a_started bigint[], a_duration bigint[], a_error text[], f_rekeyed boolean[],
  f_once text[], f_order text[], a_exchanges text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
  held boolean[] := finish_claims(
    given_now, f_id, f_token, f_state, f_wait, f_reason, f_rendered, f_output, a_outcome, a_started, a_duration, a_error,
    f_rekeyed, f_once, f_order
  );
BEGIN
  UPDATE attempts a SET exchanges = told.exchanges
  FROM unnest(f_id, a_exchanges, held[:cardinality(f_id)]) AS told (id, exchanges, held)
  JOIN deliveries d ON d.id = told.id
  WHERE told.held AND told.exchanges IS NOT NULL AND a.delivery_seq = d.seq AND a.number = d.runs;
  RETURN held;
END
$$;


-- Takes over deliveries whose lease has ended: the attempt is recorded as interrupted, the delivery is due. How many.
-- Leases that were given while the clock was ahead are bounded.
CREATE OR REPLACE FUNCTION take_over(given_now bigint, error_text text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  late bigint[];
  orders text[];
  onces text[];
  untils text[];
  mine bigint[] := '{}';
BEGIN
  SELECT array_agg(o.seq), array_agg(o.order_key), array_agg(o.once_key),
    coalesce(array_agg(o.until_key) FILTER (WHERE o.until_key IS NOT NULL), '{}')
  INTO late, orders, onces, untils FROM (
    SELECT d.seq, d.order_key, d.once_key, d.until_key FROM deliveries d WHERE d.state = 'running' AND d.lease_until < now_at
    ORDER BY d.lease_until LIMIT 500
  ) o;
  IF late IS NOT NULL THEN
    PERFORM lock_keys(orders || onces || untils);
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
    IF untils <> '{}' THEN
      PERFORM end_overtaken(now_at, mine);
    END IF;
  END IF;
  -- Given while the clock was ahead: whoever holds it has time to renew it, and from a dead one it is taken in a minute.
  UPDATE deliveries d SET lease_until = now_at + 60000 WHERE d.state = 'running' AND d.seq = ANY (ARRAY(
    SELECT f.seq FROM deliveries f WHERE f.state = 'running' AND f.lease_until > now_at + 120000 FOR UPDATE SKIP LOCKED
  ));
  RETURN cardinality(mine);
END
$$;


-- Keeps what was fetched with a run, unless an answer to the same question is kept there, which `prefix` begins. Returns
-- what is kept; null where the run is gone.
CREATE OR REPLACE FUNCTION keep_fetched(of_run text, prefix text, answer text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  kept text;
BEGIN
  SELECT d.fetched INTO kept FROM deliveries d WHERE d.id = of_run FOR UPDATE;
  IF starts_with(kept, prefix) THEN
    RETURN kept;
  END IF;
  UPDATE deliveries d SET fetched = answer WHERE d.id = of_run RETURNING d.fetched INTO kept;
  RETURN kept;
END
$$;


-- When something was last marked; marks it now where that was so long ago, or never was.
CREATE OR REPLACE FUNCTION set_mark(given_now bigint, of_name text, every_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  kept bigint;
BEGIN
  INSERT INTO marks AS m (name, marked_at) VALUES (of_name, now_at)
  ON CONFLICT (name) DO UPDATE
  SET marked_at = CASE
    WHEN m.marked_at + every_ms > now_at AND NOT is_ahead(m.marked_at, now_at) THEN m.marked_at ELSE now_at END
  RETURNING m.marked_at INTO kept;
  RETURN kept;
END
$$;


-- Takes along with a running delivery those that are pending under the same order key. Returns the numbers of the events
-- that it brings, as JSON; or how many milliseconds it has to wait for that; or null where the lease is lost.
CREATE OR REPLACE FUNCTION gather_digest(
  given_now bigint, of_id text, of_token text, wait_ms bigint, every_ms bigint, why text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  key text;
  opens_at bigint;
  others bigint[];
  d record;
BEGIN
  SELECT f.order_key INTO key FROM deliveries f WHERE f.id = of_id AND f.token = of_token AND f.state = 'running';
  PERFORM lock_keys(ARRAY[key]);
  SELECT * INTO d FROM deliveries f WHERE f.id = of_id AND f.token = of_token AND f.state = 'running' FOR UPDATE;
  IF d.seq IS NULL THEN
    RETURN NULL;
  END IF;
  IF d.digest IS NOT NULL THEN
    RETURN d.digest;
  END IF;
  IF is_ahead(d.created_at, now_at) THEN
    UPDATE deliveries f SET created_at = now_at WHERE f.seq = d.seq AND f.state = 'running';
    d.created_at := now_at;
  END IF;
  UPDATE marks m SET marked_at = now_at WHERE m.name = d.order_key AND is_ahead(m.marked_at, now_at);
  opens_at := greatest(
    d.created_at + wait_ms, (SELECT m.marked_at + every_ms FROM marks m WHERE m.name = d.order_key)
  );
  IF opens_at > now_at THEN
    RETURN (opens_at - now_at)::text;
  END IF;
  WITH taken AS (
    UPDATE deliveries f SET state = 'skipped', held = false, reason = why, finished_at = now_at
    WHERE f.order_key = d.order_key AND f.state = 'pending' AND f.digest IS NULL
    RETURNING f.seq, f.event_seq
  )
  SELECT array_agg(t.event_seq) INTO others FROM taken t;
  UPDATE deliveries f SET digest = to_jsonb(ARRAY(  -- one that is replayed is one
    SELECT DISTINCT e.seq FROM unnest(d.event_seq || coalesce(others, '{}')) AS e(seq) ORDER BY e.seq
  ))::text
  WHERE f.seq = d.seq AND f.state = 'running' RETURNING f.digest INTO d.digest;
  PERFORM set_mark(given_now, d.order_key, 0);
  RETURN d.digest;
END
$$;


-- Ends a claim of one of a burst: gateway.core.model.Burst. Returns whether its lease still held.
CREATE OR REPLACE FUNCTION settle_burst(
  given_now bigint, of_id text, of_token text, settled_key text, wait_ms bigint, max_ms bigint, why_waits text
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  key text;
  onces text[];
  untils text[];
  opens_at bigint;
  own bigint;
  last record;
  ended_events bigint[];
  ended_runs text[];
  ended_actions text[];
BEGIN
  SELECT f.order_key INTO key FROM deliveries f WHERE f.id = of_id AND f.token = of_token AND f.state = 'running';
  onces := ARRAY(
    SELECT f.once_key FROM deliveries f
    WHERE f.once_key IS NOT NULL AND (f.id = of_id OR f.order_key = key) AND f.state IN ('pending', 'running')
  );
  untils := ARRAY(SELECT f.until_key FROM deliveries f WHERE f.id = of_id AND f.until_key IS NOT NULL);
  PERFORM lock_keys(ARRAY[key, settled_key] || onces || untils);
  UPDATE deliveries f SET state = 'pending', token = NULL, lease_until = NULL, held = false, reason = why_waits,
    attempts = f.attempts - 1, runs = f.runs - 1
  WHERE f.id = of_id AND f.token = of_token AND f.state = 'running' RETURNING f.seq INTO own;
  IF own IS NULL THEN
    RETURN false;
  END IF;
  PERFORM end_overtaken(now_at, ARRAY(  -- it would stand for the others, and then be cancelled
    SELECT f.seq FROM deliveries f
    WHERE f.state = 'pending' AND f.order_key = key AND f.seq <> own AND f.until_key IS NOT NULL
  ));
  SELECT least(max(m.came) + wait_ms, min(m.came) + max_ms) INTO opens_at FROM (
    SELECT CASE WHEN is_ahead(f.created_at, now_at) THEN now_at ELSE f.created_at END AS came
    FROM deliveries f WHERE f.state = 'pending' AND (f.order_key = key OR f.seq = own)
  ) m;
  IF opens_at > now_at THEN
    UPDATE deliveries f SET due_at = opens_at WHERE f.seq = own AND f.state = 'pending';
    PERFORM pass_turn(ARRAY[key], onces, hold_in_turn(ARRAY[own]));
    PERFORM end_overtaken(now_at, ARRAY[own]);
    RETURN true;
  END IF;
  SELECT f.seq, f.id INTO last FROM deliveries f JOIN events e ON e.seq = f.event_seq
  WHERE f.state = 'pending' AND (f.order_key = key OR f.seq = own)
  ORDER BY coalesce(e.created_at, e.received_at) DESC, f.seq DESC LIMIT 1;
  WITH others AS (
    UPDATE deliveries f SET state = 'skipped', held = false, reason = format('debounce: %s stands for it', last.id),
      finished_at = now_at
    WHERE f.state = 'pending' AND (f.order_key = key OR f.seq = own) AND f.seq <> last.seq
    RETURNING f.event_seq, f.run_id, f.action, f.has_dependents
  )
  SELECT array_agg(o.event_seq), array_agg(o.run_id), array_agg(o.action)
  INTO ended_events, ended_runs, ended_actions FROM others o WHERE o.has_dependents;
  IF ended_events IS NOT NULL THEN
    PERFORM settle_dependents(now_at, ended_events, ended_runs, ended_actions);
  END IF;
  UPDATE deliveries f SET order_key = settled_key, due_at = now_at, held = false, reason = NULL
  WHERE f.seq = last.seq AND f.state = 'pending';
  PERFORM pass_turn(ARRAY[key, settled_key], onces, hold_in_turn(ARRAY[last.seq]));
  PERFORM end_overtaken(now_at, ARRAY[own]);
  RETURN true;
END
$$;


-- Ends a claim that needs a yes first: gateway.core.model.HeldForYes. Returns whether its lease still held.
CREATE OR REPLACE FUNCTION hold_claim(given_now bigint, of_id text, of_token text, within_ms bigint, why text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  orders text[];
  onces text[];
  untils text[];
  was_held boolean;
BEGIN
  SELECT ARRAY[f.order_key], ARRAY[f.once_key], array_remove(ARRAY[f.until_key], NULL) INTO orders, onces, untils
  FROM deliveries f WHERE f.id = of_id AND f.token = of_token AND f.state = 'running';
  PERFORM lock_keys(orders || onces || untils);
  UPDATE deliveries f SET state = 'pending', held = false, token = NULL, lease_until = NULL, reason = why,
    word = (coalesce(f.word, '{}')::jsonb
      || jsonb_build_object('until', least((f.word::jsonb ->> 'until')::bigint, now_at + within_ms)))::text,
    due_at = CASE WHEN f.word::jsonb ? 'by' THEN now_at  -- not at once where the clock of the gateway is behind ours
      ELSE greatest(least((f.word::jsonb ->> 'until')::bigint, now_at + within_ms), now_at + 250) END,
    attempts = f.attempts - 1, runs = f.runs - 1, once_key = NULL, order_key = NULL, judged = false
  WHERE f.id = of_id AND f.token = of_token AND f.state = 'running' RETURNING true INTO was_held;
  IF was_held THEN
    PERFORM pass_turn(orders, onces, '{}');
    PERFORM end_overtaken(now_at, ARRAY(SELECT f.seq FROM deliveries f WHERE f.id = of_id AND f.state = 'pending'));
  END IF;
  RETURN coalesce(was_held, false);
END
$$;


-- == People ==


-- Takes a person's yes or no to a delivery. Returns null where done, else why not.
CREATE OR REPLACE FUNCTION answer_delivery(given_now bigint, of_id text, who text, is_yes boolean, why_cancelled text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  d record;
BEGIN
  PERFORM lock_keys(ARRAY(
    SELECT unnest(ARRAY[f.order_key, f.once_key]) FROM deliveries f WHERE f.id = of_id
  ));
  PERFORM end_overtaken(now_at, ARRAY(
    SELECT f.seq FROM deliveries f WHERE f.id = of_id AND f.until_key IS NOT NULL
  ));
  SELECT * INTO d FROM deliveries f WHERE f.id = of_id FOR UPDATE;
  IF d.seq IS NULL THEN
    RETURN 'there is no such delivery';
  ELSIF d.word::jsonb ? 'by' THEN
    RETURN format('%s has approved it', d.word::jsonb ->> 'by');
  ELSIF d.state NOT IN ('blocked', 'pending', 'running') THEN
    RETURN format('it is %s', d.state);
  ELSIF (d.word::jsonb ->> 'until')::bigint <= now_at THEN
    RETURN 'its time is over';
  ELSIF NOT is_yes THEN
    RETURN (cancel_deliveries(given_now, ARRAY[of_id], why_cancelled))[1];
  END IF;
  UPDATE deliveries f SET due_at = CASE WHEN f.state = 'pending' THEN greatest(now_at, f.waits_until) ELSE f.due_at END,
    word = (coalesce(f.word, '{}')::jsonb || jsonb_build_object('by', who, 'at', now_at))::text
  WHERE f.seq = d.seq AND f.state = d.state;
  RETURN NULL;
END
$$;


-- What stays of what people said of a delivery when it is retried. gateway.core.model.word.word_after_retry.
CREATE OR REPLACE FUNCTION word_after_retry(word text, state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_strip_nulls(
    CASE WHEN state IN ('dead', 'expired') AND word::jsonb ? 'by' THEN word::jsonb
    ELSE jsonb_build_object('used', CASE WHEN state = 'cancelled' OR word::jsonb ?| ARRAY['until', 'by', 'used'] THEN true END)
    END || jsonb_build_object('late', true, 'now', CASE WHEN state = 'cancelled' OR word::jsonb ? 'now' THEN true END)
  )::text
$$;


-- Revives deliveries, and forgets what was fetched for their runs. Returns for each null where done, else why not.
CREATE OR REPLACE FUNCTION retry_afresh(given_now bigint, ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  refusals text[] := '{}';
  wanted text;
  holder text;
  never text;
  d record;
BEGIN
  PERFORM lock_keys(ARRAY(
    SELECT unnest(ARRAY[f.order_key, f.once_key]) FROM deliveries f WHERE f.id = ANY (ids)
  ));
  FOREACH wanted IN ARRAY ids LOOP
    PERFORM end_overtaken(now_at, ARRAY(  -- a person insists: what was cancelled waits for no event any more
      SELECT f.seq FROM deliveries f WHERE f.id = wanted AND f.until_key IS NOT NULL
    ));
    SELECT * INTO d FROM deliveries f WHERE f.id = wanted FOR UPDATE;
    holder := NULL;
    IF d.seq IS NOT NULL AND d.once_key IS NOT NULL THEN
      holder := done_by(d.once_key, d.seq);
    END IF;
    never := NULL;
    IF starts_with(d.needs, '{') THEN
      SELECT format('it runs only where %s is %s, and that has succeeded', n.key, n.value) INTO never
      FROM json_each_text(d.needs::json) WITH ORDINALITY AS n(key, value, place)
      JOIN deliveries s ON s.event_seq = d.event_seq AND s.run_id = d.run_id AND s.action = n.key
      WHERE s.state = 'succeeded' AND NOT is_met(n.value, s.state, s.reason) ORDER BY n.place LIMIT 1;
    END IF;
    IF d.seq IS NULL THEN
      refusals := refusals || 'there is no such delivery'::text;
    ELSIF d.state = 'pending' THEN
      UPDATE deliveries f SET due_at = now_at, waits_until = NULL, word = CASE WHEN f.waits_until IS NULL THEN f.word
        ELSE (coalesce(f.word, '{}')::jsonb || jsonb_build_object('now', true))::text END
      WHERE f.seq = d.seq AND f.state = 'pending';
      refusals := refusals || NULL::text;
    ELSIF d.state = 'running' THEN
      refusals := refusals || 'it is running now'::text;
    ELSIF d.state = 'succeeded' THEN
      refusals := refusals || 'it has succeeded; `events replay` makes new work'::text;
    ELSIF d.state = 'blocked' THEN
      refusals := refusals || format('it waits for %s; retry that', (
        SELECT string_agg(n.value, ', ' ORDER BY n.place)
        FROM jsonb_array_elements_text(needs_of(d.needs)) WITH ORDINALITY AS n(value, place)
      ));
    ELSIF holder IS NOT NULL THEN
      refusals := refusals || format('once_per: %s has done it', holder);
    ELSIF never IS NOT NULL THEN
      refusals := refusals || never;
    ELSE
      UPDATE deliveries f SET state = CASE WHEN d.needs = '[]' THEN 'pending' ELSE 'blocked' END, held = false,
        due_at = now_at, attempts = 0, reason = NULL, finished_at = NULL, word = word_after_retry(d.word, d.state),
        waits_until = NULL, until_key = CASE WHEN d.state = 'cancelled' THEN NULL ELSE f.until_key END
      WHERE f.seq = d.seq AND f.state = d.state;
      UPDATE deliveries f SET fetched = NULL WHERE f.id = d.run_id AND f.fetched IS NOT NULL;
      PERFORM revive_dependents(d.event_seq, d.run_id, d.action);
      IF d.needs <> '[]' THEN
        PERFORM settle_dependents(now_at, ARRAY[d.event_seq], ARRAY[d.run_id], NULL);
      END IF;
      refusals := refusals || NULL::text;
    END IF;
  END LOOP;
  RETURN refusals;
END
$$;


-- Ends deliveries for good. Returns for each null where done, else why not.
CREATE OR REPLACE FUNCTION cancel_deliveries(given_now bigint, ids text[], why text) RETURNS text[] LANGUAGE plpgsql AS $$
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
      PERFORM settle_dependents(now_at, ARRAY[d.event_seq], ARRAY[d.run_id], ARRAY[d.action]);
      PERFORM pass_turn(ARRAY[d.order_key], ARRAY[d.once_key], '{}');
      refusals := refusals || NULL::text;
    END IF;
  END LOOP;
  RETURN refusals;
END
$$;


-- == Connections and upkeep ==


-- Changes how a connection stands where its version is still the given one. Returns its new row, or none. Where it works
-- again, what waits longer for that (gateway.core.model.until_reached) is due within HASTENED_SECONDS, at no attempt.
CREATE OR REPLACE FUNCTION change_connection(
  given_now bigint, of_name text, of_version bigint, new_state text, for_ms bigint, new_reason text,
  new_failures integer, new_pauses integer, new_failed_delivery text
) RETURNS SETOF connections LANGUAGE plpgsql AS $$
DECLARE
  now_at bigint := now_ms(given_now);
  was text := (SELECT c.state FROM connections c WHERE c.name = of_name AND c.version = of_version);
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
  IF FOUND AND was <> 'working' AND new_state = 'working' THEN
    WITH waiting AS (
      SELECT d.seq FROM deliveries d
      WHERE d.state = 'pending' AND NOT d.held AND d.due_at > now_at + 5000
        AND d.reason = format('waits for connection %s to be reached again', of_name)
      FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries d SET due_at = now_at + (d.due_at - now_at) % 5000, attempts = greatest(0, d.attempts - 1)
    FROM waiting WHERE d.seq = waiting.seq AND d.state = 'pending';
  END IF;
END
$$;


-- Takes for now what a clock that was ahead has left in the future; what others hold just now, later.
CREATE OR REPLACE FUNCTION bound_times(now_at bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  ahead bigint[];
BEGIN
  ahead := ARRAY(SELECT e.seq FROM events e WHERE e.received_at > now_at + 60000 FOR UPDATE SKIP LOCKED);
  IF ahead <> '{}' THEN
    UPDATE deliveries d SET created_at = least(d.created_at, now_at), due_at = greatest(least(d.due_at, now_at), d.waits_until)
    WHERE d.seq = ANY (ARRAY(
      SELECT f.seq FROM deliveries f WHERE f.event_seq = ANY (ahead) AND f.state <> 'running' FOR UPDATE SKIP LOCKED
    )) AND d.state <> 'running';
    UPDATE events e SET received_at = now_at WHERE e.seq = ANY (ahead);
  END IF;
  -- Released by the wrong time: none of these has asked for a wait that a look too early would break.
  UPDATE deliveries d SET due_at = greatest(now_at, d.waits_until) WHERE d.seq = ANY (ARRAY(
    SELECT f.seq FROM deliveries_open f
    WHERE f.state = 'pending' AND NOT f.held AND f.attempts = 0 AND f.due_at > now_at + 60000  -- which the index has
      AND (f.waits_until IS NULL OR f.due_at > f.waits_until)
    FOR UPDATE SKIP LOCKED
  )) AND d.state = 'pending';
  -- Tried by the wrong time: it waits as long as it was to wait then.
  UPDATE deliveries d SET due_at = now_at + d.due_at - d.claimed_at, claimed_at = now_at WHERE d.seq = ANY (ARRAY(
    SELECT f.seq FROM deliveries_open f
    WHERE f.state = 'pending' AND NOT f.held AND f.due_at > now_at + 60000  -- which the index has
      AND f.claimed_at > now_at + 60000 AND f.due_at > f.claimed_at AND f.waits_until IS NULL
    FOR UPDATE SKIP LOCKED
  )) AND d.state = 'pending';
  UPDATE deliveries_finished d SET finished_at = now_at WHERE d.seq = ANY (ARRAY(
    SELECT f.seq FROM deliveries_finished f WHERE f.finished_at > now_at + 60000 FOR UPDATE SKIP LOCKED
  ));
  UPDATE done_once p SET done_at = now_at WHERE p.done_at > now_at + 60000;
  UPDATE until_events k SET seen_at = now_at, happened_at = CASE  -- Stripe's `created` was told by no clock of ours
    WHEN EXISTS (SELECT FROM events e WHERE e.seq = k.event_seq AND e.created_at IS NOT NULL
      AND e.source NOT IN ('gateway', 'send'))
    THEN k.happened_at ELSE least(k.happened_at, now_at)
  END
  WHERE k.seen_at > now_at + 60000;
  UPDATE marks m SET marked_at = now_at WHERE m.name IN (
    SELECT n.name FROM marks n WHERE n.marked_at > now_at + 60000 FOR UPDATE SKIP LOCKED
  );
  UPDATE notes n SET kept_at = now_at WHERE n.kept_at > now_at + 60000;
  UPDATE connections c SET until = now_at + c.until - c.since, since = now_at WHERE c.since > now_at + 60000;
END
$$;


-- One step of a purge: of the next events after `place`, removes those that are old and done, with their deliveries and
-- attempts; after the last, forgets ids and once keys that are remembered no longer. Returns how many events, deliveries
-- and attempts went, and where to go on; null: nowhere.
CREATE OR REPLACE FUNCTION purge_events(
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
  IF place = 0 THEN
    PERFORM bound_times(now_at);
  END IF;
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
CREATE OR REPLACE FUNCTION forget(most integer, remembered bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  ids bigint;
  keys bigint;
  endings bigint;
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
  DELETE FROM until_events k WHERE k.until_key = ANY (ARRAY(
    SELECT o.until_key FROM until_events o WHERE o.seen_at <= remembered
      AND NOT EXISTS (SELECT FROM notes n WHERE n.name = 'until:' || o.until_key)
    ORDER BY o.seen_at LIMIT most
  ));
  GET DIAGNOSTICS endings = ROW_COUNT;
  RETURN most IN (ids, keys, endings);
END
$$;
