# A repository with branches, merges and conflicts, and what can be asked of it.
rm -rf repository && mkdir repository && cd repository || exit 1
export HOME="$PWD" GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat TZ=UTC
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@d
at() { GIT_AUTHOR_DATE="$1 +0000" GIT_COMMITTER_DATE="$1 +0000"; export GIT_AUTHOR_DATE GIT_COMMITTER_DATE; }
git init -q -b main .
git config gc.auto 0
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    at $((1600000000 + i * 1000))
    seq $i $((i * 20)) >numbers
    echo "line $i" >>words
    mkdir -p dir$((i % 3)) && echo $i >dir$((i % 3))/file$i
    git add . && git commit -q -m "commit $i"
done
git tag -a -m 'a tag' v1 HEAD~3
git checkout -q -b side HEAD~4
at 1600100000
seq 100 >numbers && echo other >>words && git commit -q -a -m 'on the side'
git mv words renamed && git commit -q -m renamed
git checkout -q main
git merge -m merged side
echo "merge $?"
git status --short
git diff | head -40
seq 50 >numbers && cat renamed >both; git add -A . && git commit -q -m 'merge of both'
git log --graph --oneline --stat --decorate -M | head -80
git blame -s renamed
git rebase -q HEAD~1; git cherry-pick side~1 >/dev/null 2>&1; echo "pick $?"; git cherry-pick --abort
git stash list; echo dirty >>numbers; git stash -q; git stash list; git stash pop -q; git diff --stat; git checkout -q .
git grep -n 'line [135]' ; git grep -c 1 HEAD~2 -- numbers
git log -p -S 'line 7' --format=%s -- words renamed
git bisect start -q HEAD HEAD~8 >/dev/null 2>&1; git bisect run sh -c '[ $(wc -l <numbers) -lt 100 ]' 2>&1 | grep 'first bad'; git bisect reset -q
git rev-list --objects --all | sort | cksum
git gc -q --aggressive --prune=now
git count-objects -v | grep -E 'count|in-pack|packs|garbage'
git fsck --full --strict; echo "fsck $?"
git clone -q --bare . ../repository.git && git -C ../repository.git log --oneline | wc -l
git bundle create -q ../all.bundle --all && git bundle list-heads ../all.bundle
git archive v1 | tar -t | sort
git shortlog -s -n HEAD; git describe; git name-rev HEAD~2; git for-each-ref; git ls-tree -r HEAD; git cat-file --batch-check --batch-all-objects | cksum
git format-patch -q -o patches HEAD~2..HEAD 2>&1; cat patches/* | grep -v '^[0-9]*\.[0-9]*\.' | cksum
git no-such-command 2>/dev/null; echo "status $?"
rm -rf ../repository.git ../all.bundle
exit 5
