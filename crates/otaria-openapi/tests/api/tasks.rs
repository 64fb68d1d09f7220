//! Tasks of jobs.

use serde_json::Value;

use crate::jobs::Fleet;

#[tokio::test]
async fn tasks_are_listed_by_page_status_and_name() {
    let fleet = Fleet::new().await;
    let job = fleet.job(&[("TargetSelection", "ALL"), ("TimeoutInMinutes", "90")]).await;
    let list = async |more: &[(&str, &str)]| {
        fleet.world.call("ListOTATaskByJob", &[&[("JobId", job.as_str())], more].concat()).await
    };
    let all = list(&[]).await.ok();
    let rows = all["Data"]["SimpleOTATaskInfo"].as_array().unwrap();
    assert_eq!((rows.len(), &all["Total"], &all["CurrentPage"]), (3, &3.into(), &1.into()));
    assert_eq!((&rows[0]["TaskStatus"], &rows[0]["Timeout"]), (&"QUEUED".into(), &"90".into()));
    assert_eq!((&rows[0]["TaskDesc"], rows[0].get("Progress")), (&"".into(), None));

    let second = list(&[("CurrentPage", "2"), ("PageSize", "2")]).await.ok();
    assert_eq!(second["Data"]["SimpleOTATaskInfo"].as_array().unwrap().len(), 1);
    assert_eq!(second["PageCount"], 2);
    let queued = list(&[("TaskStatus", "QUEUED"), ("CurrentPage", "3"), ("PageSize", "1")]).await.ok();
    assert_eq!(
        (&queued["Total"], queued["Data"]["SimpleOTATaskInfo"][0]["TaskId"].is_string()),
        (&3.into(), true)
    );
    let failed = list(&[("TaskStatus", "FAILED")]).await.ok();
    assert_eq!((&failed["Total"], &failed["Data"]["SimpleOTATaskInfo"]), (&0.into(), &Value::Array(vec![])));
    let named = list(&[("DeviceNames.1", "dev-2"), ("DeviceNames.2", "dev-9")]).await.ok();
    assert_eq!(
        (&named["Total"], &named["Data"]["SimpleOTATaskInfo"][0]["DeviceName"]),
        (&1.into(), &"dev-2".into())
    );

    assert_eq!(list(&[("TaskStatus", "DONE")]).await.refused(), (400, "InvalidTaskStatus".into()));
    let far = list(&[("CurrentPage", "1001"), ("PageSize", "100")]).await;
    assert_eq!(far.refused(), (200, "iot.common.InvalidPageParams".into()));
    let past = list(&[("CurrentPage", "9")]).await.ok();
    assert_eq!(past["Data"]["SimpleOTATaskInfo"], Value::Array(vec![]));
}

#[tokio::test]
async fn a_cancellation_needs_a_flag() {
    let fleet = Fleet::new().await;
    let job = fleet.job(&[("TargetSelection", "ALL")]).await;
    let cancel = async |more: &[(&str, &str)]| {
        fleet.world.call("CancelOTATaskByJob", &[&[("JobId", job.as_str())], more].concat()).await
    };
    assert_eq!(cancel(&[]).await.refused(), (200, "iot.system.IllegalRequest".into()));
    let off = cancel(&[("CancelQueuedTask", "False")]).await;
    assert_eq!(off.refused(), (200, "iot.system.IllegalRequest".into()));
    let answer = cancel(&[("CancelQueuedTask", "True")]).await.ok();
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
}

#[tokio::test]
async fn a_task_is_confirmed_cancelled_and_started_again() {
    let fleet = Fleet::new().await;
    let job = fleet.job(&[("TargetSelection", "ALL"), ("NeedConfirm", "true")]).await;
    let device = [("ProductKey", fleet.product.as_str()), ("DeviceName", "dev-1")];
    let open = async || {
        let listed = fleet.world.call("ListOTAUnfinishedTaskByDevice", &device).await.ok();
        listed["Data"]["SimpleOTATaskInfo"].clone()
    };
    let task = open().await[0].clone();
    assert_eq!((&task["TaskStatus"], &task["ModuleName"]), (&"CONFIRM".into(), &"default".into()));
    let id = task["TaskId"].as_str().unwrap();

    let again = [("JobId", job.as_str()), ("TaskId.1", id)];
    let early = fleet.world.call("ReupgradeOTATask", &again).await.refused();
    assert_eq!(early, (200, "iot.ota.TaskStatusNotAllowed".into()));
    let none = fleet.world.call("ConfirmOTATask", &[]).await.refused();
    assert_eq!(none, (400, "MissingTaskId".into()));
    fleet.world.call("ConfirmOTATask", &again[1..]).await.ok();
    assert_eq!(open().await[0]["TaskStatus"], "QUEUED");

    let cancel = [
        ("ProductKey", fleet.product.as_str()),
        ("FirmwareId", fleet.firmware.as_str()),
        ("DeviceName.1", "dev-1"),
        ("DeviceName.2", "dev-9"),
    ];
    fleet.world.call("CancelOTATaskByDevice", &cancel).await.ok();
    assert_eq!(open().await, Value::Array(vec![]));
    let canceled = [("JobId", job.as_str()), ("TaskStatus", "CANCELED")];
    let listed = fleet.world.call("ListOTATaskByJob", &canceled).await.ok();
    let row = &listed["Data"]["SimpleOTATaskInfo"][0];
    assert!(row["TaskId"] == id && row["TaskDesc"] != "", "{row}");

    fleet.world.call("ReupgradeOTATask", &again).await.ok();
    assert_eq!(open().await[0]["TaskStatus"], "CONFIRM");
    let wrong = [device[0], device[1], ("TaskStatusList.1", "FAILED")];
    let refused = fleet.world.call("ListOTAUnfinishedTaskByDevice", &wrong).await.refused();
    assert_eq!(refused, (400, "InvalidTaskStatusList".into()));
}
