" Editing without a screen: what is printed at the end goes to the standard output.
set nocompatible nomore encoding=utf-8 undolevels=1000
syntax on
call setline(1, map(range(1, 800), {i, n -> printf("line %04d of %s", n * 7919 % 1009, nr2char(97 + n % 26))}))
%sort /\d\+/ r
g/[aeiou]$/s/line/LINE/
g/x$/d
v/[0-9]/d
10,20move $
30,40copy 0
%s/\v(\d)(\d+)/\=submatch(2) . "-" . submatch(1) * 3/g
normal gg5yyGpgg3ddqa0f w~jq20@a
normal ggVGJ
s/ of /\r/g
undo
redo
execute "normal ggO" . repeat("ä€ ", 20) . "\<Esc>"
silent! /nothing like this
let fib = {n -> n < 2 ? n : fib(n - 1) + fib(n - 2)}
function Fib(n)
  return a:n < 2 ? a:n : Fib(a:n - 1) + Fib(a:n - 2)
endfunction
call append("$", ["fib " . Fib(15), string(sort(keys({"b": 1, "a": [2, 3]}))), json_encode({"k": [1, 2.5, v:null, "x"]})])
call append("$", [matchstr("foobar123", '\d\+'), substitute("a.b.c", '\.', "-", "g"), string(split("a,b;c", '[,;]')), sha256("x")])
try
  call NoSuchFunction()
catch /E117/
  call append("$", "caught " . v:exception)
finally
  call append("$", "finally")
endtry
function Deep(n)
  if a:n == 0
    throw "deep"
  endif
  call Deep(a:n - 1)
endfunction
try
  call Deep(50)
catch /deep/
  call append("$", "caught " . v:exception)
endtry
call append("$", systemlist("echo from a shell; exit 3") + [v:shell_error])
new
call setline(1, ["int main(void) {", "if (x) {", "return 1;", "}", "}"])
set filetype=c cindent shiftwidth=4
normal gg=G
let indented = getline(1, "$")
for i in range(1, line("$")) | call add(indented, synIDattr(synID(i, 5, 1), "name")) | endfor
bwipeout!
call append("$", indented)
%print
cquit 4
