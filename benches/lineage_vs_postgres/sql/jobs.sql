WITH RECURSIVE reached (id) AS (
    SELECT id FROM job_nodes WHERE namespace = $1 AND name = $2 AND type = 'job'
    UNION
    SELECT e.beside FROM reached JOIN job_edges e ON e.node = reached.id
)
SELECT n.type, n.namespace, n.name, n.latest_run::text, n.latest_run_at FROM reached JOIN job_nodes n ON n.id = reached.id
