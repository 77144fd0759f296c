-- What Stripe adds: objects fetched for a run, the two forms of one event, the API version that templates expect.

ALTER TABLE deliveries ADD COLUMN fetched text COLLATE "C";  -- with the first delivery of a run, for all of it
ALTER TABLE events ADD COLUMN written_for text COLLATE "C", ADD COLUMN twin text COLLATE "C";
CREATE UNIQUE INDEX events_twin ON events (account, twin) WHERE twin IS NOT NULL;


-- Commits events with their deliveries. Returns for each event whether it was new.
CREATE FUNCTION add_events(
  given_now bigint, e_account text[], e_id text[], e_type text[], e_state text[], e_livemode boolean[],
  e_created bigint[], e_connected text[], e_object text[], e_version text[], e_source text[], e_written_for text[],
  e_twin text[], e_body bytea[], d_owner integer[], d_id text[], d_run text[], d_route text[], d_action text[],
  d_needs text[], d_dependents boolean[], d_once text[], d_order text[], d_error text[]
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
      e_written_for, e_twin, e_body
    ) AS g(
      seq, account, id, type, state, livemode, created_at, connected, object, version, source, written_for, twin, body
    )
  ), stored AS (
    INSERT INTO events (
      seq, account, id, type, state, livemode, received_at, created_at, connected_account, object_id, api_version,
      source, written_for, twin, body
    )
    SELECT g.seq, g.account, g.id, g.type, g.state, g.livemode, now_at, g.created_at, g.connected, g.object, g.version,
      g.source, g.written_for, g.twin, g.body
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
  RETURN ARRAY(SELECT f.seq IS NOT NULL FROM unnest(fresh) WITH ORDINALITY AS f(seq, place) ORDER BY f.place);
END
$$;


-- Keeps what was fetched with a run, unless an answer to the same question is kept there, which `prefix` begins. Returns
-- what is kept; null where the run is gone.
CREATE FUNCTION keep_fetched(of_run text, prefix text, answer text) RETURNS text LANGUAGE plpgsql AS $$
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


-- Revives deliveries, and forgets what was fetched for their runs. Returns for each null where done, else why not.
CREATE FUNCTION retry_afresh(given_now bigint, ids text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  ended text[] := ARRAY(SELECT d.id FROM deliveries d WHERE d.id = ANY (ids) AND d.state IN ('dead', 'cancelled', 'skipped'));
  refusals text[] := retry_deliveries(given_now, ids);
BEGIN
  UPDATE deliveries f SET fetched = NULL WHERE f.fetched IS NOT NULL AND f.id = ANY (ARRAY(
    SELECT d.run_id FROM unnest(ids, refusals) AS g(id, refusal) JOIN deliveries d ON d.id = g.id
    WHERE g.refusal IS NULL AND g.id = ANY (ended)
  ));
  RETURN refusals;
END
$$;
