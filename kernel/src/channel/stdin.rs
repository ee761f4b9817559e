//! Whether a process waits for input.

/// Whether a thread of the process is in a `read` of descriptor 0; systems that do not say so never
/// are.
pub fn is_read_by(pid: i32) -> bool {
    #[cfg(target_os = "linux")]
    {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let start = format!("{} 0x0 ", libc::SYS_read);
        tasks.map(|task| std::fs::read_to_string(task.path().join("syscall"))).any(|call| {
            // Number of the system call and its arguments.
            call.is_ok_and(|call| call.starts_with(&start))
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        false
    }
}
