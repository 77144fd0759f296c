-- Dry runs on PostgreSQL: what needs one is dry too, so it is released, not skipped; a retry of one revives what was dry
-- because of it.
--
-- Older gateways go on beside: these functions are replaced under the same parameters, and differ for dry runs, and for
-- what 0005 brought: a due time that is kept, and once keys that are remembered after a purge.


-- Whether a delivery was skipped because nothing was to be sent: gateway.core.model.DRY_RUN.
CREATE FUNCTION was_dry(state text, reason text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT state = 'skipped' AND starts_with(coalesce(reason, ''), 'dry run: ')
$$;


-- Makes pending the blocked deliveries of runs whose needs have all succeeded, or were dry runs. It locks the blocked ones
-- before it looks, so that of two that finish at once the later sees what the earlier did.
CREATE OR REPLACE FUNCTION release_dependents(now_at bigint, event_seqs bigint[], run_ids text[]) RETURNS void
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
      AND (s.state = 'succeeded' OR was_dry(s.state, s.reason))
    )
  );
END
$$;


-- Blocks again what was skipped only because `again` was skipped, cancelled or a dry run.
CREATE FUNCTION revive_dependents(of_event bigint, of_run text, again text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH RECURSIVE dry AS (
    SELECT again COLLATE "C" AS action
    UNION
    SELECT s.action FROM deliveries s JOIN dry ON s.needs::jsonb ? dry.action
    WHERE s.event_seq = of_event AND s.run_id = of_run AND was_dry(s.state, s.reason)
  )
  UPDATE deliveries f SET state = 'blocked', attempts = 0, reason = NULL, finished_at = NULL
  WHERE f.event_seq = of_event AND f.run_id = of_run AND f.state = 'skipped' AND (
    f.reason IN (format('needed action %s was skipped', again), format('needed action %s was cancelled', again))
    OR was_dry(f.state, f.reason) AND f.action IN (SELECT r.action FROM dry r)
  );
END
$$;


-- Records how claims ended and releases whoever waited for them. Returns for each whether its lease still held, and at
-- the end whether this may have made work for others. A `wait` of null keeps the due time.
CREATE OR REPLACE FUNCTION finish_claims(
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
    UPDATE deliveries d SET state = g.state, token = NULL, lease_until = NULL, held = false,
      due_at = coalesce(now_at + g.wait, d.due_at),
      finished_at = CASE WHEN g.state <> 'pending' THEN now_at END, reason = g.reason,
      last_error = coalesce(g.error, d.last_error), rendered = coalesce(g.rendered, d.rendered),
      output = coalesce(g.output, d.output),
      attempts = d.attempts - (g.outcome IS NULL)::integer, runs = d.runs - (g.outcome IS NULL)::integer,
      judged = d.judged OR g.rekeyed,
      once_key = CASE WHEN g.rekeyed THEN g.once ELSE d.once_key END,
      order_key = CASE WHEN g.rekeyed THEN g.ordering ELSE d.order_key END
    FROM given g WHERE d.id = g.id AND d.token = g.token AND d.state = 'running'
    RETURNING g.place, d.seq, d.runs, d.event_seq, d.run_id, d.action, d.state, d.has_dependents,
      d.state = 'succeeded' OR was_dry(d.state, d.reason) AS releases, g.outcome, g.started, g.duration, g.error
  ), recorded AS (
    INSERT INTO attempts (delivery_seq, number, started_at, duration_ms, outcome, error)
    SELECT e.seq, e.runs, e.started, e.duration, e.outcome, e.error FROM ended e WHERE e.outcome IS NOT NULL
    ON CONFLICT DO NOTHING
  )
  SELECT array_agg(e.place),
    array_agg(e.event_seq) FILTER (WHERE e.has_dependents AND e.releases),
    array_agg(e.run_id) FILTER (WHERE e.has_dependents AND e.releases),
    jsonb_agg(jsonb_build_array(e.event_seq, e.run_id, e.action))
      FILTER (WHERE e.has_dependents AND e.state = 'skipped' AND NOT e.releases)
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


-- Revives deliveries. Returns for each null where done, else why not.
CREATE OR REPLACE FUNCTION retry_deliveries(given_now bigint, ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
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
      holder := done_by(d.once_key, d.seq);
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
      PERFORM revive_dependents(d.event_seq, d.run_id, d.action);
      IF d.needs <> '[]' THEN
        PERFORM release_dependents(now_at, ARRAY[d.event_seq], ARRAY[d.run_id]);
      END IF;
      refusals := refusals || NULL::text;
    END IF;
  END LOOP;
  RETURN refusals;
END
$$;
