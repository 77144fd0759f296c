-- Requests that were rejected, kept apart from the inbox, and bounded.

CREATE SEQUENCE rejected_seq;

CREATE TABLE rejected (
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


-- Keeps them in this order, then drops what is over the bounds; how many. One gateway at a time, so that the bounds hold.
CREATE FUNCTION keep_rejected(
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
