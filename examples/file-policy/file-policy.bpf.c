/*
 * A Linux security module for files: what lies below a folder may be opened by one user only, and nobody changes it. The file's path is
 * followed upwards, name by name, through the kernel's structures.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1
#define EACCES 13
#define MAX_DEPTH 8

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct qstr {
	const unsigned char *name;
};
struct inode {
	unsigned long i_ino;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};
struct path {
	struct dentry *dentry;
};
struct file {
	unsigned int f_flags;
	struct path f_path;
};
#pragma clang attribute pop

#define O_ACCMODE 3

/* Folders by the number of their inode, and who may look into them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u32);
} guarded SEC(".maps");

struct refusal {
	__u32 pid;
	__u32 uid;
	__s32 error;
	char name[32];
};
struct refusal *unused_refusal __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} refusals SEC(".maps");

static int refuse(struct dentry *dentry, int error)
{
	struct refusal *refusal = bpf_ringbuf_reserve(&refusals, sizeof(*refusal), 0);

	if (refusal) {
		refusal->pid = bpf_get_current_pid_tgid() >> 32;
		refusal->uid = (__u32)bpf_get_current_uid_gid();
		refusal->error = error;
		bpf_probe_read_kernel_str(refusal->name, sizeof(refusal->name), dentry->d_name.name);
		bpf_ringbuf_submit(refusal, 0);
	}
	return error;
}

SEC("lsm/file_open") int BPF_PROG(file_open, struct file *file, int ret)
{
	struct dentry *dentry = file->f_path.dentry, *folder = dentry;
	__u32 uid = (__u32)bpf_get_current_uid_gid();

	/* Another module has said no. */
	if (ret)
		return ret;
	for (int i = 0; i < MAX_DEPTH; i++) {
		__u64 inode = folder->d_inode->i_ino;
		__u32 *owner = bpf_map_lookup_elem(&guarded, &inode);

		if (owner && *owner != uid)
			return refuse(dentry, -EACCES);
		if (owner && (file->f_flags & O_ACCMODE))
			return refuse(dentry, -EPERM);
		folder = folder->d_parent;
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
