-- A selection names up to 10,000 rows by their ids, which do not fit into the 64 KB of a TEXT.

ALTER TABLE bulk_change MODIFY COLUMN selection MEDIUMTEXT NOT NULL COMMENT 'JSON: which rows were asked for';
