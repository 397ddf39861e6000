/* The types of the tests. small-le.btf and small-be.btf are the .BTF sections of
   clang -target bpfel|bpfeb -g -O1 -fdebug-prefix-map=$PWD=. -c small.c */
typedef unsigned char u8;
typedef unsigned short __u16;
typedef __u16 __be16;
typedef unsigned int u32;
typedef unsigned long size_t;
typedef long ssize_t;
typedef long long loff_t;
typedef _Bool bool;
struct sock_common {
	union {
		unsigned long skc_addrpair;
		struct { u32 skc_daddr; u32 skc_rcv_saddr; };
	};
	__be16 skc_dport;
	__u16 skc_num;
	unsigned char skc_state;
	unsigned char skc_reuse : 4;
	unsigned char skc_reuseport : 1;
	unsigned int wide : 20;
	struct net *skc_net;
};
struct net { int ifindex; char name[16]; u8 mac[6]; const char *alias; };
struct sock { struct sock_common __sk_common; int sk_err; void (*sk_destruct)(struct sock *sk); };
struct msghdr;
struct pair { long a, b; };
struct ops { double ratio; int (*eight)(int, char, short, long, void *, struct sock *, struct pair *, ...); };
enum kind { KIND_NONE, KIND_ONE, KIND_LOST = -1 };
enum big { BIG_ONE = 1, BIG_HUGE = 0x100000000ULL };
struct file { const volatile int *count; int (*ops[4])(void); };

int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size) { return sk->sk_err + (int)size; }
ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos) { return file->count ? count : buf[*pos]; }
int many(int a, bool b, enum kind c, enum big d, const char *filename) { return a + b + c + (int)d + filename[0]; }
void nothing(void) { }
int by_value(struct pair p, int after) { return p.a + p.b + after; }
extern int logged(const char *fmt, ...);
int logs(struct ops *ops) { return logged("") + (ops->eight != 0); }
int (*returns_pointer(int which))(void) { extern int other(void); return which ? other : 0; }
