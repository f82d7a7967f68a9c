SELECT count(pg_notify('deed_' || to_hex(hashtextextended(current_schema(), 0)), payload)) AS sent
FROM unnest($1::text[]) AS u(payload)
