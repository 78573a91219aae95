-- Everything by which this session could see more than one tenant, as sentences. None is what is wanted.
WITH me AS (
    SELECT r.oid, r.rolname FROM pg_roles AS r WHERE r.rolname IN (current_user, session_user)
), reach AS (
    SELECT me.rolname AS me, r.oid, r.rolname, r.rolsuper, r.rolbypassrls
    FROM me JOIN pg_roles AS r ON pg_has_role(me.oid, r.oid, 'MEMBER')
), tables AS (
    SELECT c.oid, c.relname, c.relowner, c.relrowsecurity, c.relforcerowsecurity
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'stageflow' AND c.relkind IN ('r', 'p', 'f', 'm')
), views AS (
    SELECT DISTINCT v.oid, n.nspname, v.relname
    FROM pg_class AS v
    JOIN pg_namespace AS n ON n.oid = v.relnamespace
    JOIN pg_rewrite AS w ON w.ev_class = v.oid
    JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
    JOIN tables AS t ON t.oid = d.refobjid
    WHERE v.relkind IN ('v', 'm') AND v.oid <> t.oid
        AND NOT COALESCE(v.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)
)
SELECT format('role `%s` is a superuser', me) FROM reach WHERE rolname = me AND rolsuper
UNION ALL
SELECT format('role `%s` has BYPASSRLS', me) FROM reach WHERE rolname = me AND rolbypassrls
UNION ALL
SELECT format('role `%s` is a member of `%s`, which no policy binds', me, rolname)
FROM reach WHERE rolname <> me AND (rolsuper OR rolbypassrls) AND me NOT IN (SELECT rolname FROM pg_roles WHERE rolsuper)
UNION ALL
SELECT DISTINCT format('role `%s` owns the tables, or is a member of `%s`, which does', reach.me, reach.rolname)
FROM reach JOIN tables ON tables.relowner = reach.oid WHERE reach.me NOT IN (SELECT rolname FROM pg_roles WHERE rolsuper)
UNION ALL
SELECT format('table `%s` has no ENABLE ROW LEVEL SECURITY', relname) FROM tables WHERE NOT relrowsecurity
UNION ALL
SELECT format('table `%s` has no FORCE ROW LEVEL SECURITY', relname) FROM tables WHERE NOT relforcerowsecurity
UNION ALL
SELECT format('table `%s` has no policy `stageflow_tenant` as schema.sql has it', t.relname)
FROM tables AS t WHERE NOT EXISTS (
    SELECT FROM pg_policy AS p
    WHERE p.polrelid = t.oid AND p.polname = 'stageflow_tenant' AND p.polcmd = '*' AND p.polpermissive AND p.polroles = '{0}'
        AND pg_get_expr(p.polqual, p.polrelid) = '(tenant = NULLIF(current_setting(''stageflow.tenant''::text, true), ''''::text))'
        AND pg_get_expr(p.polwithcheck, p.polrelid) = '(tenant = NULLIF(current_setting(''stageflow.tenant''::text, true), ''''::text))')
UNION ALL
SELECT format('policy `%s` of table `%s` lets more through', p.polname, t.relname)
FROM tables AS t JOIN pg_policy AS p ON p.polrelid = t.oid WHERE p.polpermissive AND p.polname <> 'stageflow_tenant'
UNION ALL
SELECT format('role `%s` may TRUNCATE table `%s`, which asks no policy', current_user, relname)
FROM tables WHERE has_table_privilege(oid, 'TRUNCATE') AND relowner NOT IN (SELECT oid FROM reach)
UNION ALL
SELECT format('role `%s` may change or delete audit records', current_user)
FROM tables WHERE relname = 'audit' AND relowner NOT IN (SELECT oid FROM reach)
    AND (has_any_column_privilege(oid, 'UPDATE') OR has_table_privilege(oid, 'DELETE'))
UNION ALL
SELECT format('view `%s.%s` is read by the rights of its owner: it needs security_invoker=true', nspname, relname)
FROM views WHERE has_any_column_privilege(oid, 'SELECT') AND current_user NOT IN (SELECT rolname FROM pg_roles WHERE rolsuper)
UNION ALL
SELECT format('function `stageflow.%s` is SECURITY DEFINER', p.proname)
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'stageflow' AND p.prosecdef AND has_function_privilege(p.oid, 'EXECUTE')
UNION ALL
SELECT 'row_security is off for this session' WHERE NOT current_setting('row_security')::boolean
ORDER BY 1
