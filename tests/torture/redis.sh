# A server under load, and what is in it afterwards.
rm -f dump.rdb
redis-server --port 0 --unixsocket redis.sock --save '' --dbfilename dump.rdb --dir . --enable-debug-command local --io-threads 2 \
    >server.log 2>&1 &
server=$!
cli() { redis-cli -s redis.sock "$@"; }
until cli ping >ping 2>&1; do
    kill -0 $server || { cat server.log; exit 1; }
    sleep 0.1
done
# Its figures are times.
redis-benchmark -s redis.sock -n "$1" -c 20 -P 4 --csv -t ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange,mset |
    sed 's/,.*//'
cli dbsize
cli debug digest
for i in 1 2 3 4 5 6 7 8 9; do
    echo "set number:$i $((i * i))"
    echo "zadd scores $((i * 7 % 5)) member$i"
    echo "hset hash field$i value$i"
    echo "xadd stream $i-1 field $i"
    echo "pfadd log $i"
    echo "rpush list $((i * 5 % 7))"
    echo "setbit bits $i 1"
    echo "geoadd places $i $i place$i"
done | cli >answers
sort answers | uniq -c
cli zrange scores 0 -1 withscores
cli sort list desc
cli xrange stream 3 6
cli pfcount log
cli bitcount bits
cli geosearch places fromlonlat 3 3 byradius 300 km asc
cli eval 'local s = 0 for i, k in ipairs(redis.call("keys", "number:*")) do s = s + redis.call("get", k) end return {s, cjson.encode({s}), redis.sha1hex("x")}' 0
cli eval 'return redis.call("nonsense")' 0
cli incr hash
printf 'multi\nincr number:1\nincr number:2\nexec\n' | cli
cli set gone 1 px 1
sleep 0.1
cli get gone
cli bgsave
until cli info persistence | grep -q 'rdb_bgsave_in_progress:0'; do sleep 0.1; done
cli debug reload
cli info persistence | grep -E 'last_bgsave_status|loading:'
cli debug digest
cli info commandstats | sed -n 's/^\(cmdstat_[a-z|]*:calls=[0-9]*\),.*rejected/\1 rejected/p' | grep -vE 'cmdstat_(ping|info|config)' | sort
cli flushall
cli shutdown nosave
wait $server
echo "ended with $?"
