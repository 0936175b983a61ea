//! `prismq service print`: the texts that make `serve` a service of the system. Nothing is installed.

use clap::{Subcommand, ValueEnum};

use super::Context;
use super::exit::Exit;
use super::failure::Failure;

/// Arguments of `service`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the text, and how to install it
    Print {
        /// Of which system
        #[arg(value_enum)]
        system: System,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum System {
    /// A unit of the user's own systemd
    Systemd,
    /// A task of the Windows Task Scheduler, which runs as the user, as GPUs and network drives need it
    Windows,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Exit, Failure> {
    let What::Print { system } = arguments.what;
    let workspace = context.workspace()?;
    let program = std::env::current_exe().map_err(|error| Failure::ours(format!("this program's own file is not known: {error}")))?;
    let (program, root) = (program.to_string_lossy().into_owned(), workspace.root().to_string_lossy().into_owned());
    if [&program, &root].iter().any(|path| path.contains(['\n', '\r', '"'])) {
        return Err(Failure::usage("a path with quotes or line breaks in it cannot stand in a service's text"));
    }
    context.output.text(&match system {
        System::Systemd => systemd(&program, &root),
        System::Windows => windows(&program, &root),
    });
    Ok(Exit::Ok)
}

/// `leave`: what is wrapped outlives a restart of the service, so that only the host's own process may be killed with it.
fn systemd(program: &str, root: &str) -> String {
    let escaped = |path: &str| path.replace('\\', "\\\\").replace('%', "%%").replace('$', "$$");
    let (program, root) = (escaped(program), escaped(root));
    format!(
        "# ~/.config/systemd/user/prismq.service, then:\n\
         #   systemctl --user daemon-reload && systemctl --user enable --now prismq\n\
         #   loginctl enable-linger    # so that it also runs while nobody is logged in\n\
         [Unit]\n\
         Description=prismq, the host of {root}\n\
         \n\
         [Service]\n\
         ExecStart=\"{program}\" --workspace \"{root}\" serve --on-exit leave\n\
         # Modules go on when the host is restarted; it finds them again.\n\
         KillMode=process\n\
         KillSignal=SIGTERM\n\
         TimeoutStopSec=1h\n\
         Restart=on-failure\n\
         # 75: another host owns the workspace; 78: its journal is damaged.\n\
         RestartPreventExitStatus=2 75 78\n\
         UMask=0077\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    )
}

fn windows(program: &str, root: &str) -> String {
    let escaped = |path: &str| path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (program, root) = (escaped(program), escaped(root));
    format!(
        "<!-- Save as prismq.xml, then: schtasks /Create /TN prismq /XML prismq.xml -->\n\
         <Task version=\"1.2\" xmlns=\"http://schemas.microsoft.com/windows/2004/02/mit/task\">\n\
         \x20 <RegistrationInfo><Description>prismq, the host of {root}</Description></RegistrationInfo>\n\
         \x20 <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>\n\
         \x20 <Settings>\n\
         \x20   <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>\n\
         \x20   <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>\n\
         \x20   <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>\n\
         \x20   <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>\n\
         \x20   <RestartOnFailure><Interval>PT1M</Interval><Count>3</Count></RestartOnFailure>\n\
         \x20 </Settings>\n\
         \x20 <Actions>\n\
         \x20   <Exec>\n\
         \x20     <Command>\"{program}\"</Command>\n\
         \x20     <Arguments>--workspace \"{root}\" serve --on-exit leave</Arguments>\n\
         \x20     <WorkingDirectory>{root}</WorkingDirectory>\n\
         \x20   </Exec>\n\
         \x20 </Actions>\n\
         </Task>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_signs_of_the_format_stay_names() {
        let unit = systemd("/usr/bin/prismq", "/home/a b/50% $HOME");
        assert!(unit.contains("--workspace \"/home/a b/50%% $$HOME\" serve --on-exit leave\n"), "{unit}");
        assert!(unit.lines().any(|line| line == "KillMode=process"), "modules outlive the host: {unit}");
        let task = windows("C:\\prismq.exe", "C:\\a & b");
        assert!(task.contains("--workspace \"C:\\a &amp; b\" serve"), "{task}");
    }
}
