-- erasure_look
-- $1 user, $2 how many actions: whether it is deleted, the actions that are gone but for their events, and the next
-- ones to go, newest first: what is still to be performed is most likely among those.
SELECT d.removing, ARRAY(SELECT id FROM actions WHERE user_id = $1::uuid ORDER BY id DESC LIMIT $2::int4) AS next
FROM user_deletions d WHERE d.user_id = $1::uuid
