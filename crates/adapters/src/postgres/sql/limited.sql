-- The types of which something is to be let in or held: those of which something is held, and those with a limit of
-- which something is claimable. One look into an index for each type.
SELECT t.name AS type FROM action_types t
WHERE (SELECT q.type_id FROM action_queue q WHERE q.type_id = t.id AND q.run_at = '9999-12-31 00:00:00+00'::timestamptz LIMIT 1)
        IS NOT NULL
   OR (t.max_running IS NOT NULL OR t.max_running_per_user IS NOT NULL)
      AND (SELECT q.type_id FROM action_queue q WHERE q.type_id = t.id AND q.run_at IS NULL LIMIT 1) IS NOT NULL
