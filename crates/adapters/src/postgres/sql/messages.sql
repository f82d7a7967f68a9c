-- $1 action, $2 position: how many chunks of output stand before it.
SELECT count(*) AS messages FROM action_events WHERE action_id = $1 AND seq < $2 AND event = 'message'
