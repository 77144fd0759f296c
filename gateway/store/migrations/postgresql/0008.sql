-- The trace context of an event, which the attempts of its deliveries go on, whenever and wherever they run.
--
-- Older gateways go on beside: what they call is now a shorter call of the same.

ALTER TABLE events ADD COLUMN trace text COLLATE "C";


-- Commits events with their deliveries, of which those named as unjudged get their keys only when they run. Returns for
-- each event whether it was new.
CREATE FUNCTION add_events(
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
  WITH given AS (
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
    FROM given g
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


-- The same for gateways that know no trace contexts.
CREATE OR REPLACE FUNCTION add_events(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_written_for text[],
  e_twin text[], e_body bytea[], d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[], unjudged text[]
) RETURNS boolean[] LANGUAGE sql AS $$
  SELECT add_events(
    given_now, e_account, e_id, e_type, e_state, e_livemode, e_created, e_connected, e_object, e_version, e_source,
    e_written_for, e_twin, e_body, d_owner, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order,
    d_error, unjudged, '{}'
  )
$$;


-- The same for gateways that know nothing of unjudged deliveries either.
CREATE OR REPLACE FUNCTION add_events(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_written_for text[],
  e_twin text[], e_body bytea[], d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[]
) RETURNS boolean[] LANGUAGE sql AS $$
  SELECT add_events(
    given_now, e_account, e_id, e_type, e_state, e_livemode, e_created, e_connected, e_object, e_version, e_source,
    e_written_for, e_twin, e_body, d_owner, d_id, d_run, d_route, d_action, d_needs, d_dependents, d_once, d_order,
    d_error, '{}', '{}'
  )
$$;
