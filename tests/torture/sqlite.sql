-- A long script for SQLite's shell: most of what the library does, with the same output every time.
.mode list
.headers on
create table item(id integer primary key, name text not null, kind int, price real, note text);
create table sale(id integer primary key, item int references item(id), day int, count int check (count > 0));
create table log(what text, id int);
create index item_by_kind on item(kind, price);
create index sale_by_item on sale(item, day);
create trigger item_gone after delete on item begin insert into log values ('gone', old.id); end;
create view sold as select item.kind as kind, sum(sale.count * item.price) as total from sale join item on item.id = sale.item
    group by item.kind;
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
insert into item select i, printf('item %05d', i * 7919 % 10007), i % 17, (i * 31 % 1000) / 7.0, hex(i * i) from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into sale select i, i * 37 % 5000 + 1, i % 365, i % 9 + 1 from n;
commit;
select count(*), sum(count) from sale;
select kind, printf('%.3f', total) from sold order by kind;
select name, price from item where kind = 5 and price between 20 and 40 order by price desc, name limit 10;
select day, count(*), max(count) from sale where item in (select id from item where kind = 3) group by day having count(*) > 3
    order by day limit 12;
select kind, name, rank from (select kind, name, rank() over (partition by kind order by price desc, id) as rank from item)
    where rank <= 2 order by kind, rank;
select day, sum(count) over (order by day rows between 2 preceding and current row) from
    (select day, sum(count) as count from sale group by day) limit 10;
select a.kind, b.kind, count(*) from item a left join item b on a.id = b.id + 17 and a.kind = b.kind group by 1, 2 order by 1, 2 limit 9;
explain query plan select * from sale join item on item.id = sale.item where item.kind = 4;
select id from item where kind = 1 union select item from sale where day = 1 except select id from item where price < 60 order by 1
    limit 10;
savepoint one;
delete from item where kind = 2;
select count(*) from log;
rollback to one;
release one;
select count(*) from log;
delete from item where id % 100 = 0;
select count(*), min(id), max(id) from log;
update item set note = upper(substr(name, 6)) || '-' || length(note) where kind % 3 = 0;
select note, instr(note, '-'), replace(note, '0', 'o') from item where kind = 3 order by id limit 5;
insert into item(id, name) values (1, 'twice');
insert into sale(item, count) values (1, 0);
insert into item(id, name) values (1, 'once more') on conflict(id) do update set name = excluded.name returning id, name, kind;
select json_extract('{"a":[1,2,{"b":"c"}]}', '$.a[2].b'), json_group_array(id) from item where id < 6;
select key, value, type from json_each('{"x":1,"y":[true,null],"z":"w"}');
create virtual table words using fts5(text);
insert into words select name || ' of kind ' || kind from item;
select rowid, text from words where words match 'kind AND 11' order by rowid limit 5;
insert into words(words) values ('optimize');
create virtual table boxes using rtree(id, x0, x1, y0, y1);
insert into boxes select id, id % 70, id % 70 + 3, id % 31, id % 31 + 5 from item;
select count(*) from boxes where x0 > 10 and x1 < 30 and y0 > 5 and y1 < 20;
select strftime('%Y-%j', '2024-02-29', '+1 year'), date(0, 'unixepoch'), julianday('2000-01-01');
select 1 / 0, 9223372036854775807 + 1, 5 % 3, round(2.567, 2), abs(-7), 'a' < 'B', 'a' < 'B' collate nocase, typeof(x'00');
select group_concat(name, ';') from (select name from item order by name desc limit 5);
with recursive m(x, y, i, zx, zy) as (
    select x, y, 0, 0.0, 0.0 from (with recursive c(v) as (select -2.0 union all select v + 0.25 from c where v < 0.75) select v as x from c),
        (with recursive c(v) as (select -1.0 union all select v + 0.25 from c where v < 1.0) select v as y from c)
    union all select x, y, i + 1, zx * zx - zy * zy + x, 2 * zx * zy + y from m where zx * zx + zy * zy < 4.0 and i < 20)
select y, group_concat(n, ' ') from (select y, x, max(i) as n from m group by y, x order by y, x) group by y;
select nothing from nowhere;
alter table item add column more int default 7;
alter table item rename column note to remark;
pragma table_info(item);
vacuum;
reindex;
analyze;
pragma integrity_check;
.mode box
select id, name, remark, more from item where id between 10 and 20;
.mode json
select id, kind from item where id < 4;
.mode insert item
select * from item where id < 4;
.schema
.dump log
