struct shared { int a, b; };
struct list { struct list *next; struct shared *s; int n; };
