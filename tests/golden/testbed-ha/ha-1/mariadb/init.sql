DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost', '%');
DELETE FROM mysql.proxies_priv WHERE Host NOT IN ('localhost', '%');
FLUSH PRIVILEGES;
ALTER USER root@localhost IDENTIFIED BY 'dummy-mariadb-root-password';
CREATE USER root@'%' IDENTIFIED BY 'dummy-mariadb-root-password' REQUIRE SSL;
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
CREATE USER monitor@'%' IDENTIFIED BY 'dummy-mariadb-monitor-password' REQUIRE SSL;
CREATE USER sst@localhost IDENTIFIED BY 'dummy-mariadb-sst-password';
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR, CONNECTION ADMIN ON *.* TO sst@localhost;
