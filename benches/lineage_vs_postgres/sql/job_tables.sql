-- Jobs and datasets are nodes; an edge is kept in both directions, so that a walk needs one index and no union.
CREATE UNLOGGED TABLE job_nodes (id int PRIMARY KEY, type text NOT NULL, namespace text NOT NULL, name text NOT NULL, latest_run uuid, latest_run_at timestamptz);
CREATE UNLOGGED TABLE job_edges (node int NOT NULL, beside int NOT NULL, PRIMARY KEY (node, beside));
CREATE UNIQUE INDEX job_nodes_by_name ON job_nodes (namespace, name, type) INCLUDE (id);
