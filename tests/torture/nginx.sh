# A server with two workers under load, also as its own proxy; its logs; a reload; its end.
PATH=$PATH:/usr/sbin:/sbin
rm -rf site && mkdir -p site/www/list site/temp
seq 1 2000 >site/www/numbers.txt
echo '<p>hello <!--#echo var="QUERY_STRING" --></p>' >site/www/index.shtml
head -c 300000 /dev/zero | tr '\0' x >site/www/big.txt
touch -d @1000000000 site/www/*.* site/www/list
user=
[ "$(id -u)" != 0 ] || user='user root;'
port=18200
while :; do
    cat >site/nginx.conf <<END
daemon off; worker_processes 2; pid nginx.pid; $user
events { worker_connections 256; }
http {
    types { text/plain txt; text/html html shtml; }
    client_body_temp_path temp/a; proxy_temp_path temp/b; fastcgi_temp_path temp/c; uwsgi_temp_path temp/d; scgi_temp_path temp/e;
    log_format short '\$request \$status \$body_bytes_sent';
    access_log access.log short;
    keepalive_requests 50;
    gzip on; gzip_types text/plain; gzip_min_length 100;
    upstream self { server 127.0.0.1:$port; keepalive 4; }
    server {
        listen 127.0.0.1:$port; root www; ssi on; server_tokens off; add_header X-Torture yes;
        location /list/ { autoindex on; }
        location /proxy/ { proxy_http_version 1.1; proxy_set_header Connection ''; proxy_pass http://self/; }
        location ~ ^/(re)(write)+/(.*)\$ { rewrite ^/rewrite/(.*)\$ /\$1 last; }
        location /away { return 302 /numbers.txt; }
        location /error { return 500; }
    }
}
END
    nginx -p "$PWD/site" -c nginx.conf -e error.log &
    server=$!
    # Until it serves, or has found the port taken.
    while kill -0 $server 2>/dev/null && ! curl -s -D - -o /dev/null http://127.0.0.1:$port/numbers.txt | grep -q X-Torture; do
        sleep 0.1
    done
    kill -0 $server 2>/dev/null && break
    port=$((port + 1))
    [ $port -lt 18220 ] || exit 1
done 2>site/start.log
: >site/access.log
at=http://127.0.0.1:$port
load() {
    # What is left out are times.
    ab -q -n "$1" -c 10 $2 "$at$3" | grep -E '^(Complete|Failed|Non-2xx|HTML)'
}
load "$1" '' /numbers.txt
load "$1" -k /numbers.txt
load "$1" '-k -H Accept-Encoding:gzip' /numbers.txt
load $(($1 / 4)) -k '/proxy/index.shtml?q'
load $(($1 / 4)) '' /proxy/big.txt
for path in /index.shtml?a=b /list/ /rewrite/index.shtml?x /away /error /nothing /../etc /proxy/proxy/index.shtml?y; do
    curl -s -i "$at$path" | grep -vE '^(Date|ETag):' | sed "s/:$port/:PORT/"
done
curl -s --compressed "$at/numbers.txt" | cksum
curl -s -r 10-20,100-105 "$at/numbers.txt" | grep -v '^--'
curl -s -I "$at/big.txt" | grep -vE '^(Date|ETag):'
kill -HUP $server
sleep 0.5
curl -s "$at/proxy/big.txt" | cksum
kill -QUIT $server
wait $server
echo "ended with $?"
sed 's/127.0.0.1:[0-9]*//g' site/access.log | sort | uniq -c
cat site/error.log | grep -vE 'using inherited|signal|open\(\)|notice' | sed 's/^[^[]*//'
